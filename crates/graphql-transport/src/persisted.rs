//! Persisted documents: Apollo's automatic persisted queries, and an allowlist of trusted documents.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_graphql::ServerError;
use sha2::{Digest, Sha256};

use super::{Code, request::RawRequest};

/// Limits of the store of automatic persisted queries. The oldest are evicted first; a client whose document was
/// evicted sends it again.
const MAX_DOCUMENTS: usize = 1_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The documents that may be executed.
#[derive(Clone, Debug)]
pub enum Documents {
    /// Any document. A client sends it once with its hash, then only the hash. The store holds at most 1,000 documents
    /// and 4 MiB.
    Automatic(Automatic),
    /// Only these documents, by id.
    Trusted(Arc<HashMap<String, String>>),
}

impl Default for Documents {
    fn default() -> Self {
        Self::Automatic(Automatic::default())
    }
}

/// The store of automatic persisted queries. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Automatic(Arc<Mutex<Store>>);

#[derive(Debug, Default)]
struct Store {
    documents: HashMap<String, String>,
    oldest_first: VecDeque<String>,
    bytes: usize,
}

/// Errors from reading trusted documents.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file or folder cannot be read.
    #[error("cannot read {path}: {cause}")]
    Io {
        /// The path that could not be read.
        path: String,
        /// The operating system's error.
        #[source]
        cause: std::io::Error,
    },
    /// The manifest has no known format.
    #[error(
        "{path} is not a manifest: it must be a JSON object that maps ids to documents, or have the format \
         apollo-persisted-query-manifest, version 1"
    )]
    Manifest {
        /// The path of the manifest.
        path: String,
    },
}

impl Documents {
    /// Reads trusted documents from a manifest or a folder.
    ///
    /// A manifest is a JSON object that maps ids to documents, as written by the compilers of Relay and
    /// graphql-codegen, or Apollo's persisted query manifest. In a folder of `.graphql` files the id is the SHA-256 of
    /// the text, in hex. If the ids are such hashes, in a manifest too, a request may send the exact text instead of
    /// the id.
    ///
    /// # Errors
    /// If the path cannot be read, or the manifest is in no known format.
    pub fn trusted(path: &Path) -> Result<Self, ReadError> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |cause| ReadError::Io { path, cause }
        };
        let mut documents = HashMap::new();
        if path.is_dir() {
            for entry in std::fs::read_dir(path).map_err(io(path))? {
                let file = entry.map_err(io(path))?.path();
                if file
                    .extension()
                    .is_some_and(|extension| extension == "graphql")
                {
                    let text = std::fs::read_to_string(&file).map_err(io(&file))?;
                    documents.insert(sha256(&text), text);
                }
            }
        } else {
            let text = std::fs::read_to_string(path).map_err(io(path))?;
            documents = manifest(&text).ok_or_else(|| ReadError::Manifest {
                path: path.display().to_string(),
            })?;
        }
        Ok(Self::Trusted(Arc::new(documents)))
    }

    /// Resolves the document of a request.
    ///
    /// # Errors
    /// If the request names an unknown document, or sends one that is not trusted.
    pub(super) fn resolve(&self, request: &RawRequest) -> Result<String, ServerError> {
        match self {
            Self::Trusted(documents) => {
                let id = request.document_id.as_ref().or(request.hash.as_ref());
                let known = match id {
                    Some(id) => documents.get(bare(id)),
                    None => documents.get(&sha256(&request.query)),
                };
                known.cloned().ok_or_else(|| {
                    Code::PersistedQueryRequired.error("only registered documents are executed")
                })
            }
            Self::Automatic(automatic) => automatic.resolve(request),
        }
    }
}

impl Automatic {
    fn resolve(&self, request: &RawRequest) -> Result<String, ServerError> {
        let hash = match (&request.hash, &request.document_id) {
            (Some(hash), _) => bare(hash),
            (None, Some(id)) if request.query.is_empty() => bare(id),
            // An id next to a query is meant for servers with trusted documents, and need not be a hash.
            (None, _) => return Ok(request.query.clone()),
        };
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if request.query.is_empty() {
            // Apollo's clients match this exact text.
            return store
                .documents
                .get(hash)
                .cloned()
                .ok_or_else(|| Code::PersistedQueryNotFound.error("PersistedQueryNotFound"));
        }
        if sha256(&request.query) != hash {
            return Err(Code::InvalidRequest.error("sha256Hash is not the SHA-256 of the query"));
        }
        store.insert(hash.to_owned(), request.query.clone());
        Ok(request.query.clone())
    }
}

impl Store {
    fn insert(&mut self, hash: String, document: String) {
        if document.len() > MAX_BYTES || self.documents.contains_key(&hash) {
            return;
        }
        self.bytes += document.len();
        self.documents.insert(hash.clone(), document);
        self.oldest_first.push_back(hash);
        while self.documents.len() > MAX_DOCUMENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.oldest_first.pop_front() else {
                break;
            };
            if let Some(document) = self.documents.remove(&oldest) {
                self.bytes -= document.len();
            }
        }
    }
}

/// Parses a manifest of either format.
fn manifest(text: &str) -> Option<HashMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Apollo {
        format: String,
        version: u32,
        operations: Vec<Operation>,
    }
    #[derive(serde::Deserialize)]
    struct Operation {
        id: String,
        body: String,
    }
    let text = text.trim_start_matches('\u{feff}');
    let flat: Option<HashMap<String, String>> = serde_json::from_str(text).ok();
    let pairs: Vec<_> = match flat {
        Some(flat) => flat.into_iter().collect(),
        None => {
            let apollo: Apollo = serde_json::from_str(text).ok()?;
            let is_known =
                apollo.format == "apollo-persisted-query-manifest" && apollo.version == 1;
            let operations = apollo.operations.into_iter().filter(|_| is_known);
            let pairs = operations.map(|operation| (operation.id, operation.body));
            is_known.then(|| pairs.collect())?
        }
    };
    let pairs = pairs.into_iter();
    Some(
        pairs
            .map(|(id, body)| (bare(&id).to_owned(), body))
            .collect(),
    )
}

/// Strips the `sha256:` prefix, which some compilers write and some clients omit.
fn bare(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str, hash: Option<&str>) -> RawRequest {
        RawRequest {
            query: query.into(),
            operation_name: None,
            variables: serde_json::Map::new(),
            hash: hash.map(str::to_owned),
            document_id: None,
        }
    }

    #[test]
    fn a_document_is_sent_once_and_named_from_then_on() {
        let documents = Documents::default();
        let hash = sha256("{ a }");
        let unknown = documents.resolve(&request("", Some(&hash))).unwrap_err();
        assert_eq!(unknown.message, "PersistedQueryNotFound");
        assert!(documents.resolve(&request("{ b }", Some(&hash))).is_err());
        let first = request("{ a }", Some(&hash));
        assert_eq!(documents.resolve(&first).unwrap(), "{ a }");
        assert_eq!(
            documents.resolve(&request("", Some(&hash))).unwrap(),
            "{ a }"
        );
    }

    #[test]
    fn an_id_is_a_hash_only_without_a_query() {
        let documents = Documents::default();
        let with_id = |query: &str, id: &str| RawRequest {
            document_id: Some(id.to_owned()),
            ..request(query, None)
        };
        let beside = with_id("{ a }", "of the compiler");
        assert_eq!(documents.resolve(&beside).unwrap(), "{ a }");
        let hash = sha256("{ a }");
        assert!(documents.resolve(&with_id("", &hash)).is_err());
        assert!(documents.resolve(&request("{ a }", Some(&hash))).is_ok());
        assert_eq!(documents.resolve(&with_id("", &hash)).unwrap(), "{ a }");
        let wrong = documents.resolve(&request("{ b }", Some(&hash)));
        let message = "sha256Hash is not the SHA-256 of the query";
        assert_eq!(wrong.unwrap_err().message, message);
    }

    #[test]
    fn the_store_is_bounded_in_number_and_bytes() {
        let mut store = Store::default();
        for number in 0..3 * MAX_DOCUMENTS {
            let document = format!("{{ a{number} }}");
            store.insert(sha256(&document), document);
        }
        assert_eq!(store.documents.len(), MAX_DOCUMENTS);
        for number in 0..8 {
            let document = format!("#{number}{}", "x".repeat(MAX_BYTES / 4));
            store.insert(sha256(&document), document);
        }
        assert!(store.bytes <= MAX_BYTES && store.documents.len() < 5);
    }

    #[test]
    fn with_trusted_documents_nothing_else_is_executed() {
        let documents =
            Documents::Trusted(Arc::new(HashMap::from([(sha256("{ a }"), "{ a }".into())])));
        assert!(
            documents
                .resolve(&request("", Some(&sha256("{ a }"))))
                .is_ok()
        );
        assert!(documents.resolve(&request("{ a }", None)).is_ok());
        assert!(documents.resolve(&request("{ b }", None)).is_err());
        assert!(
            documents
                .resolve(&request("{ b }", Some(&sha256("{ b }"))))
                .is_err()
        );
    }
}
