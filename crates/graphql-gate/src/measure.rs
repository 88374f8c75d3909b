//! The cost of a document with fragments expanded, computed without expanding them.
//!
//! Each body, of an operation or a fragment, is walked once ([`Walk`]). A fragment's totals are computed after those of
//! the fragments it spreads (topological order), so each fragment is summed once. Nothing recurses from fragment to
//! fragment, so the bracket limit bounds the stack depth.

use std::collections::HashMap;

use async_graphql::{Pos, parser::types::ExecutableDocument};

use super::{
    Limits, Refusal,
    refusal::cut,
    totals::{Body, Totals, bound},
    variables::Costs,
    walk::Walk,
};

/// Checks all limits that count something in the document.
///
/// # Errors
/// If a limit is exceeded, or a fragment is unknown or part of a cycle.
pub(super) fn check(
    document: &ExecutableDocument,
    costs: &Costs,
    limits: &Limits,
) -> Result<(), Refusal> {
    if document.fragments.len() > limits.fragments {
        return Err(Refusal::TooManyFragments {
            limit: limits.fragments,
        });
    }
    // In document order rather than map order, so that errors are deterministic.
    let mut fragments: Vec<_> = document.fragments.iter().collect();
    fragments.sort_by_key(|(_, fragment)| fragment.pos);
    let mut operations: Vec<_> = document
        .operations
        .iter()
        .map(|(_, operation)| operation)
        .collect();
    operations.sort_by_key(|operation| operation.pos);

    let mut walk = Walk::new(costs, limits);
    let mut bodies = HashMap::with_capacity(fragments.len());
    for (name, fragment) in &fragments {
        bodies.insert(
            name.as_str(),
            (fragment.pos, walk.fragment(&fragment.node)?),
        );
    }
    let names = fragments.iter().map(|(name, _)| name.as_str());
    let settled = settle(names, &bodies, limits)?;
    let mut sum = Totals::default();
    for operation in operations {
        let body = walk.operation(&operation.node)?;
        if let Some(spread) = body
            .spreads
            .iter()
            .find(|spread| !settled.contains_key(spread.name))
        {
            return Err(Refusal::unknown_fragment(spread.name, spread.at));
        }
        let totals = body.totals(&settled);
        if totals.root_fields > bound(limits.root_fields) {
            return Err(Refusal::TooManyRootFields {
                limit: limits.root_fields,
                at: operation.pos,
            });
        }
        sum.add(totals);
        sum.check(limits, operation.pos)?;
    }
    Ok(())
}

/// Computes the totals of all fragments.
fn settle<'a>(
    names: impl Iterator<Item = &'a str>,
    bodies: &HashMap<&'a str, (Pos, Body<'a>)>,
    limits: &Limits,
) -> Result<HashMap<&'a str, Totals>, Refusal> {
    let mut settled = HashMap::with_capacity(bodies.len());
    for name in names {
        // The stack of fragments; each waits for the one above it.
        let mut path = vec![name];
        while let Some(&name) = path.last() {
            let Some((at, body)) = bodies.get(name) else {
                break;
            };
            let open = body
                .spreads
                .iter()
                .find(|spread| !settled.contains_key(spread.name));
            match open {
                Some(spread) if path.contains(&spread.name) => {
                    return Err(Refusal::FragmentCycle {
                        name: cut(spread.name),
                        at: spread.at,
                    });
                }
                Some(spread) if !bodies.contains_key(spread.name) => {
                    return Err(Refusal::unknown_fragment(spread.name, spread.at));
                }
                Some(spread) => path.push(spread.name),
                None => {
                    let totals = body.totals(&settled);
                    totals.check(limits, *at)?;
                    settled.insert(name, totals);
                    path.pop();
                }
            }
        }
    }
    Ok(settled)
}
