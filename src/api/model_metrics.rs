//! Prometheus metrics of the models: which one answers, which are skipped, and which parameters they have rejected.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{
    chat::Chat,
    llm::{EntryState, Task},
    telemetry::label::LabelText,
    titles::Titles,
};

/// The entries of all chains, each with its task.
pub(super) struct ModelEntries(Vec<(Labels, EntryState)>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    task: &'static str,
    model: LabelText,
}

/// A gauge with a value for each entry.
pub(super) struct EntryGauge(Vec<(Labels, i64)>);

impl ModelEntries {
    pub(super) fn new(chat: &Chat, titles: &Titles) -> Self {
        let agents = chat.agents();
        let replies = agents.chains().map(|chain| (Task::Reply, chain.clone()));
        let mut entries: Vec<(Labels, EntryState)> = Vec::new();
        let policies = titles.policies();
        let titles = policies.models().map(|chain| (Task::Title, chain.clone()));
        for (task, chain) in replies.chain(titles) {
            for state in chain.states(task) {
                let labels = Labels {
                    task: task.into(),
                    model: state.name.to_string().as_str().into(),
                };
                // Several agents' chains may contain the same entry.
                let known = entries.iter_mut().find(|(known, _)| *known == labels);
                match known {
                    Some((_, known)) => known.is_answering |= state.is_answering,
                    None => entries.push((labels, state)),
                }
            }
        }
        Self(entries)
    }

    /// 1 for each entry that satisfies the predicate, otherwise 0.
    pub(super) fn gauge(&self, is_so: impl Fn(&EntryState) -> bool) -> EntryGauge {
        self.values(|entry| i64::from(is_so(entry)))
    }

    /// How many parameters requests to each entry leave out.
    pub(super) fn refused_parameters(&self) -> EntryGauge {
        self.values(|entry| entry.refused_parameters.len() as i64)
    }

    fn values(&self, value: impl Fn(&EntryState) -> i64) -> EntryGauge {
        let values = self.0.iter();
        EntryGauge(
            values
                .map(|(labels, entry)| (labels.clone(), value(entry)))
                .collect(),
        )
    }
}

impl EncodeMetric for EntryGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (labels, value) in &self.0 {
            ConstGauge::new(*value).encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}
