//! The name of a model at its provider.

use std::{fmt, sync::Arc};

/// Names a model at its provider: `openai/gpt-5-mini`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelName {
    provider: Arc<str>,
    model: Arc<str>,
}

impl ModelName {
    /// The model that `provider` knows by the name `model`.
    pub fn new(provider: impl Into<Arc<str>>, model: impl Into<Arc<str>>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
        }
    }

    /// The provider's name in the configuration.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The model's name at the provider.
    pub fn model(&self) -> &str {
        &self.model
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}
