//! One measured figure, and the promise beside it.

use std::fmt;

pub(crate) struct Figure {
    what: String,
    measured: f64,
    /// The most that it may be; `None` for figures that are there for comparison.
    promise: Option<f64>,
    unit: &'static str,
}

impl Figure {
    pub(crate) const HEAD: &'static str =
        "| figure | measured | promised, at most | kept |\n|---|---|---|---|";

    pub(crate) fn promised(
        what: impl Into<String>,
        measured: f64,
        promise: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            promise: Some(promise),
            ..Self::of_interest(what, measured, unit)
        }
    }

    pub(crate) fn of_interest(what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            measured,
            promise: None,
            unit,
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.promise.is_none_or(|promise| self.measured <= promise)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            measured,
            promise,
            unit,
        } = self;
        write!(f, "| {what} | {measured:.2} {unit} | ")?;
        match promise {
            Some(promise) if self.is_kept() => write!(f, "{promise:.2} {unit} | yes |"),
            Some(promise) => write!(f, "{promise:.2} {unit} | NO |"),
            None => f.write_str("| |"),
        }
    }
}

/// The value that `percent` of the samples do not exceed.
pub(crate) fn percentile<T: Copy + Ord>(samples: &mut [T], percent: usize) -> T {
    samples.sort_unstable();
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}
