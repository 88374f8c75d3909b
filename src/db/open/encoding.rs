//! Checks that a server's database can store every text.

use sea_orm::{ConnectionTrait, DbErr, Statement};

use super::super::{Database, open_error::OpenError};

impl Database {
    /// Rejects a database whose server or client encoding is not UTF-8.
    ///
    /// LATIN1 cannot store a reply with other characters, and SQL_ASCII stores bytes that cannot be decoded later.
    pub(super) async fn check_encoding(&self) -> Result<(), OpenError> {
        if self.is_embedded() {
            return Ok(());
        }
        let found = self.encodings().await;
        let (name, encodings) = found.map_err(|error| OpenError::of_statement(&error))?;
        match encodings.into_iter().find(|encoding| encoding != "UTF8") {
            Some(encoding) => Err(OpenError::of_encoding(&name, &encoding)),
            None => Ok(()),
        }
    }

    /// The database's name, and the encodings of the server and of this connection.
    async fn encodings(&self) -> Result<(String, [String; 2]), DbErr> {
        let statement = Statement::from_string(
            self.reader.get_database_backend(),
            "SELECT current_database()::text AS name, current_setting('server_encoding') AS server,
                    current_setting('client_encoding') AS client",
        );
        let row = self.reader.query_one_raw(statement).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("the encoding".into()))?;
        let encodings = [row.try_get("", "server")?, row.try_get("", "client")?];
        Ok((row.try_get("", "name")?, encodings))
    }
}
