//! Refusals of the gate.
//!
//! A refusal's text is sent to the client. The only client input it repeats is names, truncated to 64 characters.

use async_graphql::{ErrorExtensionValues, Pos, ServerError, parser::Error};

/// The longest client-chosen name that a refusal repeats, in characters.
const NAME_CHARS: usize = 64;

/// The longest "expected …" text of the parser that a refusal repeats, in bytes.
const EXPECTED_BYTES: usize = 200;

/// Why the gate refuses a request.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "a variant's text says what it is, and its fields are `name`, `limit` and where: `at`"
)]
pub enum Refusal {
    #[error("the document is larger than {limit_bytes} bytes")]
    DocumentTooLarge { limit_bytes: usize },
    #[error("brackets are nested deeper than {limit}")]
    NestedTooDeep { limit: usize, at: Option<Pos> },
    #[error("the document has more than {limit} tokens")]
    TooManyTokens { limit: usize, at: Pos },
    #[error("{message}")]
    Syntax {
        message: String,
        locations: Vec<Pos>,
    },
    #[error("the document selects more than {limit} fields, fragments included")]
    TooManySelections { limit: usize, at: Pos },
    #[error("fields are nested deeper than {limit}, fragments included")]
    TooDeep { limit: usize, at: Pos },
    #[error("selection sets are nested deeper than {limit}, fragments included")]
    TooManyLevels { limit: usize, at: Pos },
    #[error("the document has more than {limit} aliases, fragments included")]
    TooManyAliases { limit: usize, at: Pos },
    #[error("the operation selects more than {limit} root fields, fragments included")]
    TooManyRootFields { limit: usize, at: Pos },
    #[error("the document defines more than {limit} fragments")]
    TooManyFragments { limit: usize },
    #[error("more than {limit} directives")]
    TooManyDirectives { limit: usize, at: Pos },
    #[error("the document defines more than {limit} variables")]
    TooManyVariables { limit: usize, at: Pos },
    #[error("the arguments hold more than {limit} values, fragments and variables included")]
    TooManyValues { limit: usize, at: Pos },
    #[error("a list or an object in the document has more than {limit} items")]
    ListTooLong { limit: usize, at: Pos },
    #[error("a value or a type in the document is nested deeper than {limit}")]
    ValueTooDeep { limit: usize, at: Pos },
    #[error("the variables are larger than {limit_bytes} bytes")]
    VariablesTooLarge { limit_bytes: usize },
    #[error("a list or an object in the variable \"${name}\" has more than {limit} items")]
    VariableTooLong { name: String, limit: usize },
    #[error("the variable \"${name}\" is nested deeper than {limit}")]
    VariableTooDeep { name: String, limit: usize },
    #[error("the batch has more than {limit} requests")]
    BatchTooLong { limit: usize },
    #[error("the document has no operation named \"{name}\"")]
    UnknownOperation { name: String },
    #[error("the document has several operations, so operationName is needed")]
    AmbiguousOperation,
    #[error("the document has no operation")]
    NoOperation,
    #[error("the variable \"${name}\" is required and was not sent")]
    MissingVariable { name: String, at: Pos },
    #[error("the variable \"${name}\" is null where its type allows no null")]
    InvalidVariable { name: String, at: Pos },
    #[error("the fragment \"{name}\" is not defined")]
    UnknownFragment { name: String, at: Pos },
    #[error("the fragment \"{name}\" spreads itself")]
    FragmentCycle { name: String, at: Pos },
    #[error("a subscription selects exactly one root field")]
    SubscriptionRootFields { at: Pos },
    #[error("a subscription's root field cannot be an introspection field")]
    IntrospectionInSubscriptionRoot { at: Pos },
    #[error("@skip and @include are not allowed at the root of a subscription")]
    ConditionInSubscriptionRoot { at: Pos },
    #[error(
        "\"{name}\" is selected twice, as different fields or with different arguments: give one of them an alias"
    )]
    ConflictingFields { name: String, at: Pos },
    #[error(
        "the mutation selects a field twice, and a directive stands on it or above it: give each of the two an alias"
    )]
    RepeatedMutation { at: Pos },
}

/// The kind of a refusal, which selects the error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The document is not GraphQL.
    Syntax,
    /// The request exceeds a limit.
    Limit,
    /// The document is inconsistent, or the variables or the operation name do not match it.
    Invalid,
}

impl Refusal {
    /// The locations in the document, most important first.
    pub fn locations(&self) -> &[Pos] {
        match self {
            Self::Syntax { locations, .. } => locations,
            Self::NestedTooDeep { at, .. } => at.as_slice(),
            Self::TooManyTokens { at, .. }
            | Self::TooManySelections { at, .. }
            | Self::TooDeep { at, .. }
            | Self::TooManyLevels { at, .. }
            | Self::TooManyAliases { at, .. }
            | Self::TooManyRootFields { at, .. }
            | Self::TooManyDirectives { at, .. }
            | Self::TooManyVariables { at, .. }
            | Self::TooManyValues { at, .. }
            | Self::ListTooLong { at, .. }
            | Self::ValueTooDeep { at, .. }
            | Self::MissingVariable { at, .. }
            | Self::InvalidVariable { at, .. }
            | Self::UnknownFragment { at, .. }
            | Self::FragmentCycle { at, .. }
            | Self::SubscriptionRootFields { at }
            | Self::IntrospectionInSubscriptionRoot { at }
            | Self::ConditionInSubscriptionRoot { at }
            | Self::ConflictingFields { at, .. }
            | Self::RepeatedMutation { at } => std::slice::from_ref(at),
            Self::DocumentTooLarge { .. }
            | Self::TooManyFragments { .. }
            | Self::VariablesTooLarge { .. }
            | Self::VariableTooLong { .. }
            | Self::VariableTooDeep { .. }
            | Self::BatchTooLong { .. }
            | Self::UnknownOperation { .. }
            | Self::AmbiguousOperation
            | Self::NoOperation => &[],
        }
    }

    /// The exceeded limit, if any.
    pub fn limit(&self) -> Option<usize> {
        match self {
            Self::DocumentTooLarge { limit_bytes } | Self::VariablesTooLarge { limit_bytes } => {
                Some(*limit_bytes)
            }
            Self::NestedTooDeep { limit, .. }
            | Self::TooManyTokens { limit, .. }
            | Self::TooManySelections { limit, .. }
            | Self::TooDeep { limit, .. }
            | Self::TooManyLevels { limit, .. }
            | Self::TooManyAliases { limit, .. }
            | Self::TooManyRootFields { limit, .. }
            | Self::TooManyFragments { limit }
            | Self::TooManyDirectives { limit, .. }
            | Self::TooManyVariables { limit, .. }
            | Self::TooManyValues { limit, .. }
            | Self::ListTooLong { limit, .. }
            | Self::ValueTooDeep { limit, .. }
            | Self::VariableTooLong { limit, .. }
            | Self::VariableTooDeep { limit, .. }
            | Self::BatchTooLong { limit } => Some(*limit),
            _ => None,
        }
    }

    /// The variable at fault, without its `$`.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::VariableTooLong { name, .. }
            | Self::VariableTooDeep { name, .. }
            | Self::MissingVariable { name, .. }
            | Self::InvalidVariable { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The kind of the refusal.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Syntax { .. } | Self::NoOperation => RefusalKind::Syntax,
            Self::DocumentTooLarge { .. }
            | Self::NestedTooDeep { .. }
            | Self::TooManyTokens { .. }
            | Self::TooManySelections { .. }
            | Self::TooDeep { .. }
            | Self::TooManyLevels { .. }
            | Self::TooManyAliases { .. }
            | Self::TooManyRootFields { .. }
            | Self::TooManyFragments { .. }
            | Self::TooManyDirectives { .. }
            | Self::TooManyVariables { .. }
            | Self::TooManyValues { .. }
            | Self::ListTooLong { .. }
            | Self::ValueTooDeep { .. }
            | Self::VariablesTooLarge { .. }
            | Self::VariableTooLong { .. }
            | Self::VariableTooDeep { .. }
            | Self::BatchTooLong { .. } => RefusalKind::Limit,
            Self::UnknownOperation { .. }
            | Self::AmbiguousOperation
            | Self::MissingVariable { .. }
            | Self::InvalidVariable { .. }
            | Self::UnknownFragment { .. }
            | Self::FragmentCycle { .. }
            | Self::SubscriptionRootFields { .. }
            | Self::IntrospectionInSubscriptionRoot { .. }
            | Self::ConditionInSubscriptionRoot { .. }
            | Self::ConflictingFields { .. }
            | Self::RepeatedMutation { .. } => RefusalKind::Invalid,
        }
    }

    /// The error code for clients.
    pub fn code(&self) -> &'static str {
        match (self, self.kind()) {
            (Self::DocumentTooLarge { .. } | Self::VariablesTooLarge { .. }, _) => {
                "PAYLOAD_TOO_LARGE"
            }
            (_, RefusalKind::Syntax) => "GRAPHQL_PARSE_FAILED",
            (_, RefusalKind::Limit) => "QUERY_TOO_COMPLEX",
            (_, RefusalKind::Invalid) => "GRAPHQL_VALIDATION_FAILED",
        }
    }

    /// The error for clients. Its extensions hold `code`; for an exceeded limit, `cost` and `limit`; and the name of an
    /// offending variable as `argument`.
    pub fn to_error(&self) -> ServerError {
        let mut error = ServerError::new(self.to_string(), None);
        error.locations = self.locations().to_vec();
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.code());
        if let (RefusalKind::Limit, Some(limit)) = (self.kind(), self.limit()) {
            // Counting stops once the limit is exceeded, so the cost is a lower bound.
            extensions.set("cost", limit.saturating_add(1));
            extensions.set("limit", limit);
        }
        if let Some(variable) = self.variable() {
            extensions.set("argument", variable);
        }
        error.extensions = Some(extensions);
        error
    }

    /// No operation has this name.
    pub(super) fn unknown_operation(name: &str) -> Self {
        Self::UnknownOperation { name: cut(name) }
    }

    /// No fragment has this name.
    pub(super) fn unknown_fragment(name: &str, at: Pos) -> Self {
        Self::UnknownFragment {
            name: cut(name),
            at,
        }
    }

    /// A syntax error at one location.
    pub(super) fn syntax(message: &str, at: Pos) -> Self {
        Self::Syntax {
            message: message.to_owned(),
            locations: vec![at],
        }
    }
}

/// Truncates a client-chosen name.
pub(super) fn cut(name: &str) -> String {
    name.chars()
        .take(NAME_CHARS)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Converts the parser's error, without the document line that it quotes.
pub(super) fn syntax(error: &Error) -> Refusal {
    let message = match error {
        Error::Syntax { message, .. } => expectation(message),
        Error::MultipleOperations { .. } => {
            "an operation without a name must be the only one".to_owned()
        }
        Error::OperationDuplicated { operation, .. } => {
            format!("the operation \"{}\" is defined twice", cut(operation))
        }
        Error::FragmentDuplicated { fragment, .. } => {
            format!("the fragment \"{}\" is defined twice", cut(fragment))
        }
        Error::MissingOperation => return Refusal::NoOperation,
        _ => "the document cannot be parsed".to_owned(),
    };
    Refusal::Syntax {
        message,
        locations: error.positions().collect(),
    }
}

/// The last line of the parser's text, `  = expected name or selection_set`; the lines before it quote the document.
fn expectation(message: &str) -> String {
    if message.starts_with("invalid number") {
        return "syntax error: a number is out of range".to_owned();
    }
    let last = message.lines().next_back().unwrap_or_default();
    match last.trim_start().strip_prefix("= ") {
        Some(expected)
            if expected.len() <= EXPECTED_BYTES
                && (expected.starts_with("expected ") || expected.starts_with("unexpected ")) =>
        {
            format!("syntax error: {expected}")
        }
        _ => "syntax error".to_owned(),
    }
}
