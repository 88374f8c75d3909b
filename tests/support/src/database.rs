//! A database for one test: an SQLite file, or a PostgreSQL database copied from a migrated template.

use std::path::PathBuf;

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database as SeaOrm, DatabaseConnection};
use titlecast::db::Database;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// The database of one test. Removed on drop.
pub struct TestDatabase {
    pub url: String,
    place: Place,
}

enum Place {
    File(PathBuf),
    Server {
        admin_url: String,
        name: String,
    },
    /// A database that belongs to another `TestDatabase`, which removes it.
    Borrowed,
}

impl TestDatabase {
    /// Creates a migrated database.
    pub async fn new() -> Self {
        match server_url() {
            None => {
                let database = Self::file();
                std::fs::write(database.path(), migrated_file().await).unwrap();
                database
            }
            Some(admin_url) => {
                let template = template(&admin_url).await;
                Self::on_server(admin_url, Some(template)).await
            }
        }
    }

    /// Creates a database without tables.
    pub async fn empty() -> Self {
        match server_url() {
            None => Self::file(),
            Some(admin_url) => Self::on_server(admin_url, None).await,
        }
    }

    /// Copies this database. Nothing may be connected to it.
    pub async fn copy(&self) -> Self {
        match &self.place {
            Place::File(path) => {
                let copy = Self::file();
                std::fs::copy(path, copy.path()).unwrap();
                copy
            }
            Place::Server { admin_url, name } => {
                Self::on_server(admin_url.clone(), Some(name)).await
            }
            Place::Borrowed => panic!("another one owns the database"),
        }
    }

    /// Opens a connection for reading and writing rows directly.
    pub async fn connect(&self) -> DatabaseConnection {
        SeaOrm::connect(&self.url).await.unwrap()
    }

    /// The same database for another server, which must not outlive this one.
    pub fn shared(&self) -> Self {
        Self {
            url: self.url.clone(),
            place: Place::Borrowed,
        }
    }

    /// An existing database at this URL, bypassing any proxy between it and the service.
    pub fn of_another(url: &str) -> Self {
        Self {
            url: url.into(),
            place: Place::Borrowed,
        }
    }

    /// Whether tests run on a PostgreSQL server.
    pub fn is_on_server() -> bool {
        server_url().is_some()
    }

    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// The path of the SQLite file.
    pub fn path(&self) -> &std::path::Path {
        match &self.place {
            Place::File(path) => path,
            _ => panic!("the database is no file"),
        }
    }

    fn file() -> Self {
        let path = std::env::temp_dir().join(format!("titlecast-test-{}.db", Uuid::now_v7()));
        Self {
            url: format!("sqlite://{}?mode=rwc", path.display()),
            place: Place::File(path),
        }
    }

    async fn on_server(admin_url: String, template: Option<&str>) -> Self {
        let name = format!("titlecast_test_{}", Uuid::now_v7().simple());
        let template = template.unwrap_or("template0");
        let admin = SeaOrm::connect(&admin_url).await.unwrap();
        admin
            .execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await
            .unwrap();
        admin.close().await.unwrap();
        Self {
            url: with_database(&admin_url, &name),
            place: Place::Server { admin_url, name },
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.place {
            Place::Borrowed => {}
            Place::File(path) => {
                for suffix in ["", "-wal", "-shm"] {
                    let mut path = path.clone().into_os_string();
                    path.push(suffix);
                    // Fails if the file does not exist, which is fine.
                    let _ = std::fs::remove_file(path);
                }
            }
            Place::Server { admin_url, name } => {
                let (admin_url, name) = (admin_url.clone(), name.clone());
                // The test's own runtime cannot be awaited in `drop`.
                let dropping = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let admin = SeaOrm::connect(&admin_url).await.unwrap();
                        admin
                            .execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)"))
                            .await
                            .unwrap();
                    });
                });
                if dropping.join().is_err() {
                    eprintln!("a test database was left behind");
                }
            }
        }
    }
}

/// The PostgreSQL server to test on, if there is one.
fn server_url() -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "which database to test on is no setting of the program"
    )]
    std::env::var("TEST_DATABASE_URL")
        .ok()
        .filter(|url| !url.is_empty())
}

fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, ""), |(b, q)| (b, q));
    let server = base.rsplit_once('/').unwrap().0;
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{server}/{name}{separator}{query}")
}

/// The bytes of a migrated SQLite file. Cached, because migrating takes longer than most tests.
async fn migrated_file() -> &'static [u8] {
    static BYTES: OnceCell<Vec<u8>> = OnceCell::const_new();
    BYTES
        .get_or_init(|| async {
            let database = TestDatabase::file();
            let opened = Database::connect(&database.url, 1).await.unwrap();
            opened.migrate_up(None).await.unwrap();
            // Closing the last connection moves the write-ahead log into the file.
            opened.close().await.unwrap();
            std::fs::read(database.path()).unwrap()
        })
        .await
}

/// The name of the migrated template, which the first process creates; several processes may try at once. It contains
/// the newest migration's name, because other checkouts may be tested on the same server.
async fn template(admin_url: &str) -> &'static str {
    static MADE: OnceCell<String> = OnceCell::const_new();
    MADE.get_or_init(|| async {
        let newest = Migrator::migrations().pop().unwrap();
        let name = format!("titlecast_test_template_{}", newest.name());
        let admin = SeaOrm::connect(
            sea_orm::ConnectOptions::new(admin_url)
                .max_connections(1)
                .to_owned(),
        )
        .await
        .unwrap();
        admin
            .execute_unprepared("SELECT pg_advisory_lock(7117117)")
            .await
            .unwrap();
        let exists = admin
            .query_one_raw(sea_orm::Statement::from_string(
                sea_orm::DbBackend::Postgres,
                format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"),
            ))
            .await
            .unwrap()
            .is_some();
        if !exists {
            admin
                .execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE template0"))
                .await
                .unwrap();
        }
        // The template may be outdated, if migrations were edited before their release.
        let opened = Database::connect(&with_database(admin_url, &name), 1)
            .await
            .unwrap();
        opened.migrate_up(None).await.unwrap();
        opened.close().await.unwrap();
        admin
            .execute_unprepared("SELECT pg_advisory_unlock(7117117)")
            .await
            .unwrap();
        admin.close().await.unwrap();
        name
    })
    .await
}
