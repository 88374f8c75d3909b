//! Candidate titles and their scores.

/// A title made from one sentence or clause.
pub(super) struct Candidate {
    /// How likely it names the topic; higher is better.
    pub(super) score: i32,
    pub(super) title: String,
}

/// The better of two candidates; the first on a tie.
pub(super) fn first_best(best: Candidate, next: Candidate) -> Candidate {
    if next.score > best.score { next } else { best }
}
