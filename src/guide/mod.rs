//! The guide: what there is to know, a page a subject.
//!
//! Begin with [getting started](getting_started) and [guarantees]; then read what you need.
//!
//! | page | it answers |
//! |---|---|
//! | [getting started](getting_started) | How do I write an operation, submit a batch and read what became of it? |
//! | [guarantees] | What may a handler do, and what happens to an item when things go wrong? |
//! | [lifecycle] | Which states has a batch, and what takes it from one to the next? |
//! | [submitting] | How do I submit safely, twice, or more than fits a batch? |
//! | [retries] | When does a failed item run again? |
//! | [ordering] | What runs before what? |
//! | [watching] | How do I learn how far a batch is and how it ended? |
//! | [steering] | How do I stop, pause, run again and delete? |
//! | [types over time](types_over_time) | What happens to stored items when my types change? |
//! | [testing] | How do I test my operations, crashes included? |
//! | [embedding] | How does it live with async code, signals, several processes? |
//! | [limits] | How large, how long, how many? |
//! | [what can go wrong](what_can_go_wrong) | What do I see then, and what do I do? |
//! | [observability] | What do I watch in production? |
//!
//! Whole programs are in the repository's `examples` directory.

#[doc = include_str!("getting_started.md")]
pub mod getting_started {}

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("lifecycle.md")]
pub mod lifecycle {}

#[doc = include_str!("submitting.md")]
pub mod submitting {}

#[doc = include_str!("retries.md")]
pub mod retries {}

#[doc = include_str!("ordering.md")]
pub mod ordering {}

#[doc = include_str!("watching.md")]
pub mod watching {}

#[doc = include_str!("steering.md")]
pub mod steering {}

#[doc = include_str!("types_over_time.md")]
pub mod types_over_time {}

#[cfg_attr(feature = "testing", doc = include_str!("testing.md"))]
#[cfg_attr(
    not(feature = "testing"),
    doc = "# Testing\n\nThis page is there with the feature `testing`."
)]
pub mod testing {}

#[doc = include_str!("embedding.md")]
pub mod embedding {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("what_can_go_wrong.md")]
pub mod what_can_go_wrong {}

#[doc = include_str!("observability.md")]
pub mod observability {}
