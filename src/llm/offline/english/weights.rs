//! Two logistic regressions: whether a word of the message is in its title, and which other word is.

use std::collections::HashMap;

/// The lowest likelihood at which a word that the message does not have is added.
const MIN_ADDED: f32 = 0.25;

/// A family of features and a value.
pub(in crate::llm::offline) type Feature<'a> = (&'static str, &'a str);

/// The features of a word by family: the word itself, the two before, the next, its place, how its sentence ends,
/// requests, capitals, digits, repetition, length, and the length of the message.
pub(in crate::llm::offline) type Features<'a> = [Feature<'a>; 12];

/// The weights of features.
pub(in crate::llm::offline) struct Weights {
    bias: f32,
    words: HashMap<Feature<'static>, f32>,
    /// The words that can be added, with their bias.
    added: Vec<(&'static str, f32)>,
    /// By feature of a message, the weights of words that can be added.
    by_feature: HashMap<&'static str, Vec<(usize, f32)>>,
}

impl Weights {
    /// Reads a table of hundredths: `bias N`, `FAMILY VALUE N`, and `+ WORD FEATURE N` for words that can be added.
    pub(in crate::llm::offline) fn of(table: &'static str) -> Self {
        let mut weights = Self {
            bias: 0.0,
            words: HashMap::new(),
            added: Vec::new(),
            by_feature: HashMap::new(),
        };
        for line in table.lines() {
            let Some((name, weight)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(weight) = weight.parse::<f32>().map(|weight| weight / 100.0) else {
                continue;
            };
            match name.split_once(' ') {
                None => weights.bias = weight,
                Some(("+", name)) => weights.read_added(name, weight),
                Some(feature) => {
                    weights.words.insert(feature, weight);
                }
            }
        }
        weights
    }

    fn read_added(&mut self, name: &'static str, weight: f32) {
        let (word, feature) = name.split_once(' ').unwrap_or((name, "bias"));
        if self.added.last().is_none_or(|(last, _)| *last != word) {
            self.added.push((word, 0.0));
        }
        let at = self.added.len() - 1;
        match feature {
            "bias" => self.added[at].1 = weight,
            _ => self
                .by_feature
                .entry(feature)
                .or_default()
                .push((at, weight)),
        }
    }

    /// How likely a word is in the title.
    pub(super) fn likelihood(&self, features: &Features) -> f32 {
        let words: &HashMap<Feature, f32> = &self.words;
        let weights = features.iter().filter_map(|feature| words.get(feature));
        sigmoid(self.bias + weights.sum::<f32>())
    }

    /// The most likely word that is not in the message, by the features of the message.
    pub(super) fn added(&self, features: &[String]) -> Option<(&'static str, f32)> {
        let mut sums = self.added.clone();
        for feature in features {
            for (at, weight) in self.by_feature.get(feature.as_str()).into_iter().flatten() {
                sums[*at].1 += weight;
            }
        }
        let best = sums.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let likelihood = sigmoid(best.1);
        let is_new = features.iter().all(|feature| feature != best.0);
        (likelihood >= MIN_ADDED && is_new).then_some((best.0, likelihood))
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
