//! Walks one body of a document: counts its own cost and collects its fragment spreads.

use std::convert::Infallible;

use async_graphql::{
    Name, Pos, Positioned, Value,
    parser::types::{
        BaseType, Directive, Field, FragmentDefinition, OperationDefinition, Selection,
        SelectionSet, Type,
    },
};

use super::{
    Limits, Refusal,
    totals::{Body, Spread},
    variables::{Costs, literal},
};

/// Walks the bodies one after another, and counts what the document-wide limits need.
pub(super) struct Walk<'a> {
    costs: &'a Costs,
    limits: &'a Limits,
    selections: usize,
    directives: usize,
    variables: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(costs: &'a Costs, limits: &'a Limits) -> Self {
        Self {
            costs,
            limits,
            selections: 0,
            directives: 0,
            variables: 0,
        }
    }

    /// Walks a fragment.
    ///
    /// # Errors
    /// If its own content, without its spreads, exceeds a limit.
    pub(super) fn fragment(
        &mut self,
        fragment: &'a FragmentDefinition,
    ) -> Result<Body<'a>, Refusal> {
        let mut body = Body::default();
        self.directives(&mut body, &fragment.directives)?;
        self.set(&mut body, &fragment.selection_set.node, 0, 0)?;
        Ok(body)
    }

    /// Walks an operation.
    ///
    /// # Errors
    /// If its own content, without its spreads, exceeds a limit.
    pub(super) fn operation(
        &mut self,
        operation: &'a OperationDefinition,
    ) -> Result<Body<'a>, Refusal> {
        let limits = self.limits;
        let mut body = Body::default();
        for definition in &operation.variable_definitions {
            let at = definition.pos;
            self.variables += 1;
            if self.variables > limits.variables {
                return Err(Refusal::TooManyVariables {
                    limit: limits.variables,
                    at,
                });
            }
            if lists(&definition.node.var_type.node) > limits.value_nesting {
                return Err(Refusal::ValueTooDeep {
                    limit: limits.value_nesting,
                    at,
                });
            }
            if let Some(default) = &definition.node.default_value {
                body.own.values += literal(&default.node, limits, default.pos)?;
            }
            self.directives(&mut body, &definition.node.directives)?;
        }
        self.directives(&mut body, &operation.directives)?;
        self.set(&mut body, &operation.selection_set.node, 0, 0)?;
        Ok(body)
    }

    fn set(
        &mut self,
        body: &mut Body<'a>,
        set: &'a SelectionSet,
        depth: usize,
        level: usize,
    ) -> Result<(), Refusal> {
        body.own.levels = body.own.levels.max(level);
        for selection in &set.items {
            self.selections += 1;
            if self.selections > self.limits.selections {
                return Err(Refusal::TooManySelections {
                    limit: self.limits.selections,
                    at: selection.pos,
                });
            }
            body.own.selections += 1;
            match &selection.node {
                Selection::Field(field) => self.field(body, &field.node, depth, level)?,
                Selection::FragmentSpread(spread) => {
                    self.directives(body, &spread.node.directives)?;
                    body.spreads.push(Spread {
                        name: spread.node.fragment_name.node.as_str(),
                        at: spread.pos,
                        depth,
                        level: level + 1,
                    });
                }
                Selection::InlineFragment(fragment) => {
                    self.directives(body, &fragment.node.directives)?;
                    self.set(body, &fragment.node.selection_set.node, depth, level + 1)?;
                }
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        body: &mut Body<'a>,
        field: &'a Field,
        depth: usize,
        level: usize,
    ) -> Result<(), Refusal> {
        body.own.aliases += u64::from(field.alias.is_some());
        body.own.root_fields += u64::from(depth == 0);
        body.own.depth = body.own.depth.max(depth + 1);
        for (_, value) in &field.arguments {
            let mut used = 0;
            let Ok(constant) =
                (value.node.clone()).into_const_with(|name| self.variable(&name, &mut used));
            self.argument(body, &constant, used, value.pos)?;
        }
        self.directives(body, &field.directives)?;
        if field.selection_set.node.items.is_empty() {
            return Ok(());
        }
        self.set(body, &field.selection_set.node, depth + 1, level + 1)
    }

    fn directives(
        &mut self,
        body: &mut Body<'a>,
        directives: &'a [Positioned<Directive>],
    ) -> Result<(), Refusal> {
        for (index, directive) in directives.iter().enumerate() {
            self.directives += 1;
            let limit = if index >= self.limits.directives_each {
                self.limits.directives_each
            } else if self.directives > self.limits.directives {
                self.limits.directives
            } else {
                for (_, value) in &directive.node.arguments {
                    let mut used = 0;
                    let Ok(constant) = (value.node.clone())
                        .into_const_with(|name| self.variable(&name, &mut used));
                    self.argument(body, &constant, used, value.pos)?;
                }
                continue;
            };
            return Err(Refusal::TooManyDirectives {
                limit,
                at: directive.pos,
            });
        }
        Ok(())
    }

    /// Replaces a variable with null, and adds the variable's cost to `used`.
    fn variable(&self, name: &Name, used: &mut u64) -> Result<Value, Infallible> {
        *used += self.costs.get(name).copied().unwrap_or(1);
        Ok(Value::Null)
    }

    fn argument(
        &self,
        body: &mut Body<'a>,
        constant: &Value,
        used: u64,
        at: Pos,
    ) -> Result<(), Refusal> {
        let cost = literal(constant, self.limits, at)?.saturating_add(used);
        body.own.values = body.own.values.saturating_add(cost);
        Ok(())
    }
}

/// How deeply lists are nested in a type.
fn lists(ty: &Type) -> usize {
    match &ty.base {
        BaseType::Named(_) => 0,
        BaseType::List(item) => 1 + lists(item),
    }
}
