//! A subscriber and a recorder that keep everything.

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata as Meta, Recorder, SharedString,
    Unit,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A span or an event.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: Level,
    /// The span's name, or the event's message.
    pub(crate) text: String,
    pub(crate) fields: BTreeMap<String, String>,
    /// The spans that the thread was in, outermost first.
    pub(crate) within: Vec<String>,
}

impl Line {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" {
            self.text = value;
        } else {
            self.fields.insert(field.name().to_owned(), value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

thread_local! {
    static WITHIN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

struct Keeper;

impl Keeper {
    fn keep(metadata: &Metadata<'_>, fill: impl FnOnce(&mut Line)) -> usize {
        let spans = WITHIN.with_borrow(Vec::clone);
        let mut lines = lock(&LINES);
        let name = |span: &usize| lines.get(*span).map(|line| line.text.clone());
        let mut line = Line {
            level: *metadata.level(),
            text: metadata.name().to_owned(),
            fields: BTreeMap::new(),
            within: spans.iter().filter_map(name).collect(),
        };
        line.fields
            .insert("target".to_owned(), metadata.target().to_owned());
        fill(&mut line);
        lines.push(line);
        lines.len() - 1
    }
}

impl Subscriber for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let at = Self::keep(span.metadata(), |line| span.record(line));
        Id::from_u64(at as u64 + 1)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(line) = lock(&LINES).get_mut(span.into_u64() as usize - 1) {
            values.record(line);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        Self::keep(event.metadata(), |line| event.record(line));
    }

    fn enter(&self, span: &Id) {
        WITHIN.with_borrow_mut(|within| within.push(span.into_u64() as usize - 1));
    }

    fn exit(&self, _: &Id) {
        WITHIN.with_borrow_mut(|within| within.pop());
    }
}

/// What is traced while this lives. There is one subscriber for the program, so tests come one by one.
pub(crate) struct Log(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Log {
    pub(crate) fn start() -> Self {
        let alone = lock(&ONE_AT_A_TIME);
        // Set before: it is the same one.
        let _ = tracing::subscriber::set_global_default(Keeper);
        lock(&LINES).clear();
        Self(alone)
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        lock(&LINES).clone()
    }

    /// The spans and events with this name or message.
    pub(crate) fn all(&self, text: &str) -> Vec<Line> {
        let mut lines = self.lines();
        lines.retain(|line| line.text == text);
        lines
    }

    /// Everything as one text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for line in self.lines() {
            let _ = writeln!(text, "{line:?}");
        }
        text
    }
}

/// A recorder. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Figures(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    numbers: BTreeMap<String, Arc<AtomicU64>>,
    gauges: BTreeMap<String, Arc<AtomicU64>>,
    times: BTreeMap<String, Arc<Times>>,
    described: BTreeMap<String, Option<Unit>>,
}

#[derive(Default)]
struct Times(Mutex<Vec<f64>>);

impl HistogramFn for Times {
    fn record(&self, seconds: f64) {
        lock(&self.0).push(seconds);
    }
}

fn named(key: &Key) -> String {
    let mut name = key.name().to_owned();
    for label in key.labels() {
        let _ = write!(name, " {}={}", label.key(), label.value());
    }
    name
}

impl Figures {
    /// The value of a counter: its name, then `label=value` for each label.
    pub(crate) fn counter(&self, name: &str) -> Option<u64> {
        let kept = lock(&self.0);
        Some(kept.numbers.get(name)?.load(Ordering::Acquire))
    }

    pub(crate) fn gauge(&self, name: &str) -> Option<f64> {
        let kept = lock(&self.0);
        let bits = kept.gauges.get(name)?.load(Ordering::Acquire);
        Some(f64::from_bits(bits))
    }

    pub(crate) fn times(&self, name: &str) -> Option<Vec<f64>> {
        let times = lock(&self.0).times.get(name).cloned()?;
        let times = lock(&times.0).clone();
        Some(times)
    }

    /// Every metric with its labels.
    pub(crate) fn names(&self) -> Vec<String> {
        let kept = lock(&self.0);
        let gauges = kept.gauges.keys().chain(kept.times.keys());
        kept.numbers.keys().chain(gauges).cloned().collect()
    }

    pub(crate) fn described(&self) -> BTreeMap<String, Option<Unit>> {
        lock(&self.0).described.clone()
    }

    fn describe(&self, name: KeyName, unit: Option<Unit>) {
        let name = name.as_str().to_owned();
        lock(&self.0).described.insert(name, unit);
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Meta<'_>) -> Counter {
        let mut kept = lock(&self.0);
        Counter::from_arc(Arc::clone(kept.numbers.entry(named(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Meta<'_>) -> Gauge {
        let mut kept = lock(&self.0);
        Gauge::from_arc(Arc::clone(kept.gauges.entry(named(key)).or_default()))
    }

    fn register_histogram(&self, key: &Key, _: &Meta<'_>) -> Histogram {
        let mut kept = lock(&self.0);
        Histogram::from_arc(Arc::clone(kept.times.entry(named(key)).or_default()))
    }
}
