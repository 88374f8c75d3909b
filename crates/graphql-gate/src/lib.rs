#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! Each step but the comparison of conflicting fields is linear in the input that passed the one before:
//!
//! 1. bytes of the document and of the variables;
//! 2. a scan for nesting and tokens (`brackets`), which knows strings and comments;
//! 3. escapes that the parser does not support are replaced (`literals`);
//! 4. one parse, whose result stays with the request;
//! 5. the operation is chosen and its variables are checked (`variables`);
//! 6. costs are counted as if fragments were expanded (`measure`), without expanding them;
//! 7. repeated fields are merged (`merge`), and conflicting ones refused (`conflicts`);
//! 8. the root of a subscription or mutation is rewritten to the form that the engine expects (`root`).
//!
//! The gate does not use the schema.

mod brackets;
mod conflicts;
mod executor;
mod literals;
mod measure;
mod merge;
mod refusal;
mod root;
#[cfg(test)]
mod tests;
mod totals;
mod values;
mod variables;
mod walk;

use std::collections::HashSet;

use async_graphql::{
    Positioned, Request,
    parser::{
        parse_query,
        types::{DocumentOperations, OperationDefinition, OperationType},
    },
};

pub use self::{
    executor::Gated,
    refusal::{Refusal, RefusalKind},
    root::RootField,
};

/// Limits on a request. Every limit is inclusive.
///
/// "Expanded" means that a fragment counts once for each spread of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the document, in bytes of UTF-8. 16 KiB: twenty times the largest document that a client page sends.
    pub document_bytes: usize,
    /// Nesting of brackets of any kind: `{`, `(` and `[`. 64, the parser's own limit for selection sets. Its debug
    /// build needs up to 10 KiB of stack for each level, and a thread has 2 MiB.
    pub nesting: usize,
    /// Tokens of the document, as section 2.1.6 of the specification counts them (graphql-js:
    /// `maxTokens`). 4,000; the parser needs about 1 µs for each.
    pub tokens: usize,
    /// Fields, spreads and inline fragments in all operations together, expanded. 500; the largest introspection query
    /// of graphql-js has 242.
    pub selections: usize,
    /// Nesting of fields, expanded. 15: exactly what the introspection query of graphql-js 16 and GraphiQL 5 needs,
    /// which asks for nine levels of `ofType`.
    pub depth: usize,
    /// Nesting of selection sets, expanded, fragments included. 24, like the engine's `limit_recursive_depth`;
    /// introspection has 17.
    pub levels: usize,
    /// Aliases in all operations together, expanded. 30, because each alias calls the resolver again.
    pub aliases: usize,
    /// Fields at the root of an operation, expanded. 10.
    pub root_fields: usize,
    /// Definitions of fragments. 50.
    pub fragments: usize,
    /// Directives in the document. 50.
    pub directives: usize,
    /// Directives on one element. 8, like the engine's `limit_directives`.
    pub directives_each: usize,
    /// Definitions of variables in the document. 100.
    pub variables: usize,
    /// Total size of the variables' values, in bytes, measured roughly as JSON. 64 KiB, like the body.
    pub variables_bytes: usize,
    /// Items in one list, or entries in one object, of a literal or a variable. 1,000.
    pub list_items: usize,
    /// Nesting of lists and objects, in a literal or a variable; also of lists in a type. 16.
    pub value_nesting: usize,
    /// Values in all arguments of all operations, expanded. A variable counts in full at each use, because the engine
    /// copies it; a string counts one more for every 64 bytes. 10,000.
    pub values: usize,
    /// Requests in a batch, for [`Gated`]; each is checked separately against the other limits. 10, the maximum of
    /// Apollo's `BatchHttpLink`.
    pub batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 16 * 1024,
            nesting: 64,
            tokens: 4_000,
            selections: 500,
            depth: 15,
            levels: 24,
            aliases: 30,
            root_fields: 10,
            fragments: 50,
            directives: 50,
            directives_each: 8,
            variables: 100,
            variables_bytes: 64 * 1024,
            list_items: 1_000,
            value_nesting: 16,
            values: 10_000,
            batch: 10,
        }
    }
}

/// The selected operation of an admitted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The operation's type.
    pub kind: OperationType,
    /// The only root field of a subscription; `None` for queries and mutations.
    pub root: Option<RootField>,
}

/// Checks a request and returns its operation.
///
/// Afterwards the request carries the parsed document. Its variables are those that the operation
/// defines, with defaults applied: the engine's `@skip` and `@include` ignore defaults.
///
/// # Errors
/// If the request cannot be executed or exceeds a limit. The document is then not attached.
pub fn admit(request: &mut Request, limits: &Limits) -> Result<Admitted, Refusal> {
    if request.query.len() > limits.document_bytes {
        return Err(Refusal::DocumentTooLarge {
            limit_bytes: limits.document_bytes,
        });
    }
    variables::check_bounds(&request.variables, limits)?;
    variables::whole_numbers(&mut request.variables);
    brackets::scan(&request.query, limits)?;
    let readable = literals::readable(&request.query)?;
    let mut document = parse_query(&readable).map_err(|error| refusal::syntax(&error))?;
    let operation = choose(&mut document.operations, request.operation_name.as_deref())?;
    let costs = variables::coerce(&mut request.variables, &operation.node, limits)?;
    measure::check(&document, &costs, limits)?;

    root::forget_conflicting(&mut document, request.operation_name.as_deref());
    merge::merge(&mut document);
    let operation = choose(&mut document.operations, request.operation_name.as_deref())?;
    let fragments = &document.fragments;
    conflicts::check(&operation.node, fragments)?;
    let kind = operation.node.ty;
    let (root, inlined) = match kind {
        OperationType::Query => (None, HashSet::new()),
        OperationType::Mutation => (None, root::settle_mutation(&mut operation.node, fragments)?),
        OperationType::Subscription => {
            let variables = &request.variables;
            let (root, inlined) = root::settle_subscription(operation, fragments, variables)?;
            (Some(root), inlined)
        }
    };
    root::forget_unused(&mut document, &inlined);
    request.set_parsed_query(document);
    Ok(Admitted { kind, root })
}

/// Selects the operation, following `GetOperation` (section 6.1 of the specification). As in graphql-js, an empty name
/// matches no operation.
fn choose<'a>(
    operations: &'a mut DocumentOperations,
    name: Option<&str>,
) -> Result<&'a mut Positioned<OperationDefinition>, Refusal> {
    match (operations, name) {
        (DocumentOperations::Single(operation), None) => Ok(operation),
        (DocumentOperations::Single(_), Some(name)) => Err(Refusal::unknown_operation(name)),
        (DocumentOperations::Multiple(operations), Some(name)) => operations
            .get_mut(name)
            .ok_or_else(|| Refusal::unknown_operation(name)),
        (DocumentOperations::Multiple(operations), None) => {
            let several = operations.len() > 1;
            let first = operations.values_mut().next().ok_or(Refusal::NoOperation)?;
            if several {
                return Err(Refusal::AmbiguousOperation);
            }
            Ok(first)
        }
    }
}
