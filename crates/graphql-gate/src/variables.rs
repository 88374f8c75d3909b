//! Variables: size limits, required values and defaults.

use std::collections::BTreeMap;

use async_graphql::{
    Name, Pos, Value, Variables,
    parser::types::{BaseType, OperationDefinition, Type},
};

use super::{
    Limits, Refusal,
    refusal::cut,
    values::{Excess, Size},
};

/// The cost of one use of each variable, in the units of [`Limits::values`].
pub(super) type Costs = BTreeMap<Name, u64>;

/// Checks the size of all variables. Runs before the operation is known.
///
/// # Errors
/// If a value is too large, too long or too deep.
pub(super) fn check_bounds(variables: &Variables, limits: &Limits) -> Result<(), Refusal> {
    let mut bytes = 0_usize;
    for (name, value) in variables.iter() {
        let size = Size::of(value, limits).map_err(|excess| match excess {
            Excess::Nesting => Refusal::VariableTooDeep {
                name: cut(name),
                limit: limits.value_nesting,
            },
            Excess::Items => Refusal::VariableTooLong {
                name: cut(name),
                limit: limits.list_items,
            },
        })?;
        bytes = bytes.saturating_add(size.bytes).saturating_add(name.len());
        if bytes > limits.variables_bytes {
            return Err(Refusal::VariablesTooLarge {
                limit_bytes: limits.variables_bytes,
            });
        }
    }
    Ok(())
}

/// Converts whole floats to integers: in JSON, `1.0` is a valid Int (section 3.5.1 of the specification), and an
/// integer is a valid Float.
pub(super) fn whole_numbers(variables: &mut Variables) {
    for value in variables.values_mut() {
        whole_number(value);
    }
}

fn whole_number(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|number| {
                number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX) + 1.0
            });
            if let Some(whole) = whole {
                *number = (whole as i64).into();
            }
        }
        Value::List(items) => items.iter_mut().for_each(whole_number),
        Value::Object(entries) => entries.values_mut().for_each(whole_number),
        _ => {}
    }
}

/// Coerces the variables for `operation`, following `CoerceVariableValues` (section 6.1.2 of the specification) as far
/// as possible without a schema: undefined variables are dropped, defaults are applied, and null is refused for
/// non-null types. The engine's validation checks the other types.
///
/// # Errors
/// If a required variable is absent, or a non-null variable is null.
pub(super) fn coerce(
    variables: &mut Variables,
    operation: &OperationDefinition,
    limits: &Limits,
) -> Result<Costs, Refusal> {
    let mut costs = Costs::new();
    for definition in &operation.variable_definitions {
        let name = &definition.node.name.node;
        let ty = &definition.node.var_type.node;
        if let (None, Some(default)) = (variables.get(name), &definition.node.default_value) {
            variables.insert(name.clone(), default.node.clone());
        }
        let at = definition.pos;
        let cost = match variables.get(name) {
            Some(value) if allows(ty, value) => literal(value, limits, at)?,
            Some(_) => {
                return Err(Refusal::InvalidVariable {
                    name: cut(name),
                    at,
                });
            }
            None if ty.nullable => 1,
            None => {
                return Err(Refusal::MissingVariable {
                    name: cut(name),
                    at,
                });
            }
        };
        costs.insert(name.clone(), cost);
    }
    variables.retain(|name, _| costs.contains_key(name));
    Ok(costs)
}

/// The cost of a literal.
///
/// # Errors
/// If the literal is too long or too deep.
pub(super) fn literal(value: &Value, limits: &Limits, at: Pos) -> Result<u64, Refusal> {
    match Size::of(value, limits) {
        Ok(size) => Ok(size.values),
        Err(Excess::Nesting) => Err(Refusal::ValueTooDeep {
            limit: limits.value_nesting,
            at,
        }),
        Err(Excess::Items) => Err(Refusal::ListTooLong {
            limit: limits.list_items,
            at,
        }),
    }
}

/// Whether `value` has null only where `ty` allows it. A single value is a list of one (section 3.11 of
/// the specification).
fn allows(ty: &Type, value: &Value) -> bool {
    match (&ty.base, value) {
        (_, Value::Null) => ty.nullable,
        (BaseType::List(item), Value::List(values)) => {
            values.iter().all(|value| allows(item, value))
        }
        (BaseType::List(item), value) => allows(item, value),
        (BaseType::Named(_), _) => true,
    }
}
