//! Refuses fields that cannot be merged (section 5.3.2 of the specification): one response key for two fields, or for
//! the same field with different arguments.
//!
//! The engine compares only fields written directly in the same selection set. If they come from fragments, or differ
//! one level further down, it would execute both and return one object that mixes their values.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned,
    parser::types::{Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet},
};

use async_graphql_value::Value;

use super::{Refusal, refusal::cut};

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// Checks an operation. Its fragments must already be checked: no cycles, and at most
/// [`Limits::selections`](super::Limits::selections) when expanded.
///
/// # Errors
/// [`Refusal::ConflictingFields`] or [`Refusal::UnknownFragment`].
pub(super) fn check(operation: &OperationDefinition, fragments: &Fragments) -> Result<(), Refusal> {
    let root = Part {
        set: &operation.selection_set.node,
        conditions: Vec::new(),
    };
    Level::of([root], fragments)?.check(fragments)
}

/// A selection set to merge with others of its level.
struct Part<'a> {
    set: &'a SelectionSet,
    conditions: Conditions<'a>,
}

/// The type conditions that enclose a field: for each level, the innermost.
type Conditions<'a> = Vec<Option<&'a Name>>;

/// The fields of the merged selection sets, grouped by response key, in document order.
#[derive(Default)]
struct Level<'a> {
    groups: Vec<Vec<Member<'a>>>,
    places: HashMap<&'a Name, usize>,
}

struct Member<'a> {
    field: &'a Positioned<Field>,
    /// Sorted by name, so that two members are compared in linear time.
    arguments: Vec<(&'a Name, &'a Value)>,
    conditions: Conditions<'a>,
}

impl<'a> Level<'a> {
    fn of(
        parts: impl IntoIterator<Item = Part<'a>>,
        fragments: &'a Fragments,
    ) -> Result<Self, Refusal> {
        let mut level = Self::default();
        for part in parts {
            level.add(part.set, None, &part.conditions, fragments)?;
        }
        Ok(level)
    }

    fn add(
        &mut self,
        set: &'a SelectionSet,
        condition: Option<&'a Name>,
        above: &Conditions<'a>,
        fragments: &'a Fragments,
    ) -> Result<(), Refusal> {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    let groups = &mut self.groups;
                    let place = self
                        .places
                        .entry(&field.node.response_key().node)
                        .or_insert_with(|| {
                            groups.push(Vec::new());
                            groups.len() - 1
                        });
                    let mut conditions = above.clone();
                    conditions.push(condition);
                    let group = &mut self.groups[*place];
                    // A fragment that several fragments spread has the same field for each of them.
                    let is_known = |known: &Member<'_>| {
                        std::ptr::eq(known.field, field) && known.conditions == conditions
                    };
                    if !group.iter().any(is_known) {
                        group.push(Member::new(field, conditions));
                    }
                }
                Selection::InlineFragment(inline) => {
                    let own = inline
                        .node
                        .type_condition
                        .as_ref()
                        .map(|on| &on.node.on.node);
                    self.add(
                        &inline.node.selection_set.node,
                        own.or(condition),
                        above,
                        fragments,
                    )?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let Some(fragment) = fragments.get(name) else {
                        return Err(Refusal::unknown_fragment(name, spread.pos));
                    };
                    let own = &fragment.node.type_condition.node.on.node;
                    self.add(
                        &fragment.node.selection_set.node,
                        Some(own),
                        above,
                        fragments,
                    )?;
                }
            }
        }
        Ok(())
    }

    fn check(self, fragments: &'a Fragments) -> Result<(), Refusal> {
        for group in self.groups {
            for (place, member) in group.iter().enumerate() {
                let before = &group[..place];
                if before.iter().any(|other| member.conflicts_with(other)) {
                    return Err(Refusal::ConflictingFields {
                        name: cut(&member.field.node.response_key().node),
                        at: member.field.pos,
                    });
                }
            }
            let parts = group.into_iter().map(|member| Part {
                set: &member.field.node.selection_set.node,
                conditions: member.conditions,
            });
            Level::of(parts, fragments)?.check(fragments)?;
        }
        Ok(())
    }
}

impl<'a> Member<'a> {
    fn new(field: &'a Positioned<Field>, conditions: Conditions<'a>) -> Self {
        let arguments = field.node.arguments.iter();
        let mut arguments: Vec<_> = arguments
            .map(|(name, value)| (&name.node, &value.node))
            .collect();
        arguments.sort_by_key(|(name, _)| *name);
        Self {
            field,
            arguments,
            conditions,
        }
    }

    fn conflicts_with(&self, other: &Self) -> bool {
        let is_same =
            || self.field.node.name == other.field.node.name && self.arguments == other.arguments;
        self.may_meet(other) && !is_same()
    }

    /// Whether both fields can apply to the same object. Each type condition counts as an object type, and an object
    /// has only one.
    fn may_meet(&self, other: &Self) -> bool {
        let mut levels = self.conditions.iter().zip(&other.conditions);
        levels.all(|(one, other)| one.is_none() || other.is_none() || one == other)
    }
}
