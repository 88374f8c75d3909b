//! Columns of JSON, which an export nests as JSON.

use std::marker::PhantomData;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::Value;

/// The JSON of a nullable column, for `#[serde(with)]`. Deserializing checks that it is a `T`, and returns it in the
/// form that the service stores.
pub struct Nested<T>(PhantomData<T>);

impl<T: Serialize + DeserializeOwned> Nested<T> {
    pub fn serialize<S: Serializer>(
        json: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // A column that holds no JSON is read as empty everywhere.
        let value: Option<Value> = json
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok());
        value.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        let value: Option<T> = Option::deserialize(deserializer)?;
        let json = value.as_ref().map(serde_json::to_string).transpose();
        json.map_err(D::Error::custom)
    }
}
