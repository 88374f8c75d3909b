//! What `titlecast try` compares: models with the texts of their instructions, and two baselines.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Trial, TryError};
use crate::{
    config::{Price, TryArguments},
    llm::{Model, ModelName, offline::Offline},
    titles::trial::{Candidate, Maker},
};

/// The maximum number of candidates besides the baselines.
pub(super) const MAX_CANDIDATES: usize = 24;

/// The name of the baseline that truncates the message.
const CUT: &str = "first 60 characters";

/// Each model with each style and each instruction; then the offline model and the truncated message.
///
/// # Errors
/// [`TryError::Model`], [`TryError::NoModels`], [`TryError::TooMany`].
pub(super) fn candidates(
    arguments: &TryArguments,
    trial: &Trial<'_>,
) -> Result<Vec<Candidate>, TryError> {
    let models: Vec<Arc<Model>> = match arguments.models.is_empty() {
        false => {
            let models = arguments
                .models
                .iter()
                .map(|name| (trial.find)(name.trim()));
            models.collect::<Result<_, _>>().map_err(TryError::Model)?
        }
        true => trial.policies.default_policy().models.models().to_vec(),
    };
    let is_remote = |model: &&Arc<Model>| !model.is_offline();
    let models: Vec<&Arc<Model>> = models.iter().filter(is_remote).collect();
    if models.is_empty() {
        return Err(TryError::NoModels);
    }
    /// The texts to compare; without any, those of the policies.
    fn texts(given: &[String]) -> Vec<Option<Option<Arc<str>>>> {
        let text = |text: &String| {
            Some(
                Some(text.trim())
                    .filter(|text| !text.is_empty())
                    .map(Arc::from),
            )
        };
        match given.is_empty() {
            true => vec![None],
            false => given.iter().map(text).collect(),
        }
    }
    let (styles, instructions) = (texts(&arguments.style), texts(&arguments.instruction));
    let count = models.len() * styles.len() * instructions.len();
    if count > MAX_CANDIDATES {
        return Err(TryError::TooMany(count));
    }
    let numbered = |what: &str, at: usize, of: usize| match of {
        1 => String::new(),
        _ => format!(", {what} {}", at + 1),
    };
    let mut candidates = Vec::new();
    for model in models {
        for (i, instruction) in instructions.iter().enumerate() {
            for (s, style) in styles.iter().enumerate() {
                let name = format!(
                    "{}{}{}",
                    model.name(),
                    numbered("instruction", i, instructions.len()),
                    numbered("style", s, styles.len())
                );
                candidates.push(Candidate {
                    name,
                    maker: Maker::Model(model.clone()),
                    style: style.clone(),
                    instruction: instruction.clone(),
                });
            }
        }
    }
    let baseline = |name: &str, maker| Candidate {
        name: name.to_owned(),
        maker,
        style: None,
        instruction: None,
    };
    let offline = Model::offline(Offline::new(Duration::ZERO));
    candidates.push(baseline("offline model", Maker::Model(Arc::new(offline))));
    candidates.push(baseline(CUT, Maker::Cut));
    Ok(candidates)
}

/// Prices per million tokens.
pub(super) struct Prices {
    all: Option<Price>,
    by_model: BTreeMap<String, Price>,
}

impl Prices {
    pub(super) fn of(&self, model: &ModelName) -> Option<Price> {
        let own = self.by_model.get(&model.to_string()).copied();
        own.or(self.all)
    }
}

/// The prices of the arguments.
///
/// # Errors
/// [`TryError::Price`].
pub(super) fn prices(
    arguments: &TryArguments,
    candidates: &[Candidate],
) -> Result<Prices, TryError> {
    let mut prices = Prices {
        all: None,
        by_model: BTreeMap::new(),
    };
    for (model, price) in &arguments.price {
        let Some(model) = model else {
            prices.all = Some(*price);
            continue;
        };
        let is_compared = candidates.iter().any(|candidate| match &candidate.maker {
            Maker::Model(known) => known.name().to_string() == *model,
            Maker::Cut => false,
        });
        if !is_compared {
            return Err(TryError::Price(model.clone()));
        }
        prices.by_model.insert(model.clone(), *price);
    }
    Ok(prices)
}
