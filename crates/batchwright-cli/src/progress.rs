//! The progress bar, on standard error and only on a terminal: a pipe or a log gets none of it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Counts items whose number is not known yet.
    pub(crate) fn counting(doing: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = style("{msg:>9} {human_pos} items, {rate}/s");
        bar.set_style(style);
        bar.set_message(doing);
        Self { bar }
    }

    /// Goes up to `items`.
    pub(crate) fn of(items: u64, doing: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(items), ProgressDrawTarget::stderr());
        bar.set_style(style(
            "{msg:>9} {wide_bar} {human_pos}/{human_len}, {rate}/s, {eta} left{prefix}",
        ));
        bar.set_message(doing);
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar }
    }

    /// Shows nothing.
    pub(crate) fn hidden() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    pub(crate) fn advance(&self) {
        self.bar.inc(1);
    }

    /// Something else is done now, of which `done` is done already.
    pub(crate) fn turn_to(&self, doing: &'static str, done: u64) {
        self.bar.set_message(doing);
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    pub(crate) fn set(&self, done: u64, failed: u64) {
        if failed > 0 {
            self.bar.set_prefix(format!(", {failed} failed"));
        }
        self.bar.set_position(done);
    }

    /// Says something beside the bar, also where there is no bar.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Says something to whoever watches. Nobody may.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "batchwright: {text}");
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Into the bar's own text: it cannot fail.
        let _ = write!(out, "{:.0}", state.per_sec());
    })
}
