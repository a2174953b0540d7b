//! The `metrics` crate's handles, or without the feature types of the same shape that do nothing.

#[cfg(feature = "metrics")]
pub(super) use on::{Counter, Gauge, Histogram, Unit, counter, describe, gauge, histogram};

#[cfg(not(feature = "metrics"))]
pub(super) use off::{Counter, Gauge, Histogram, Unit, counter, describe, gauge, histogram};

/// The name of a label and its value.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[cfg(feature = "metrics")]
mod on {
    use super::{Kind, Labels};
    use metrics::{Key, Label, Level, Metadata, with_recorder};

    pub(crate) use metrics::{Counter, Gauge, Histogram, Unit};

    const METADATA: Metadata<'_> = Metadata::new("batchwright", Level::INFO, None);

    fn key(name: &'static str, labels: Labels<'_>) -> Key {
        let label = |(name, value): &(&'static str, &str)| Label::new(*name, (*value).to_owned());
        Key::from_parts(name, labels.iter().map(label).collect::<Vec<_>>())
    }

    pub(crate) fn counter(name: &'static str, labels: Labels<'_>) -> Counter {
        with_recorder(|recorder| recorder.register_counter(&key(name, labels), &METADATA))
    }

    pub(crate) fn gauge(name: &'static str, labels: Labels<'_>) -> Gauge {
        with_recorder(|recorder| recorder.register_gauge(&key(name, labels), &METADATA))
    }

    pub(crate) fn histogram(name: &'static str, labels: Labels<'_>) -> Histogram {
        with_recorder(|recorder| recorder.register_histogram(&key(name, labels), &METADATA))
    }

    pub(crate) fn describe(kind: Kind, name: &'static str, unit: Unit, text: &'static str) {
        let (name, unit, text) = (name.into(), Some(unit), text.into());
        with_recorder(|recorder| match kind {
            Kind::Counter => recorder.describe_counter(name, unit, text),
            Kind::Gauge => recorder.describe_gauge(name, unit, text),
            Kind::Histogram => recorder.describe_histogram(name, unit, text),
        });
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    use super::{Kind, Labels};
    use std::time::Duration;

    pub(crate) enum Unit {
        Count,
        Seconds,
        Bytes,
    }

    pub(crate) struct Counter;

    impl Counter {
        pub(crate) fn increment(&self, _: u64) {}
    }

    pub(crate) struct Gauge;

    impl Gauge {
        pub(crate) fn increment(&self, _: f64) {}
        pub(crate) fn decrement(&self, _: f64) {}
    }

    pub(crate) struct Histogram;

    impl Histogram {
        pub(crate) fn record(&self, _: Duration) {}
    }

    pub(crate) fn counter(_: &'static str, _: Labels<'_>) -> Counter {
        Counter
    }

    pub(crate) fn gauge(_: &'static str, _: Labels<'_>) -> Gauge {
        Gauge
    }

    pub(crate) fn histogram(_: &'static str, _: Labels<'_>) -> Histogram {
        Histogram
    }

    pub(crate) fn describe(_: Kind, _: &'static str, _: Unit, _: &'static str) {}
}
