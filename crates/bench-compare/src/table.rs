//! The Markdown table of the results: a row per round, the medians, and every engine as a multiple of the first.

use std::fmt::Write;

pub(crate) struct Table {
    engines: Vec<&'static str>,
    rounds: Vec<Vec<f64>>,
}

impl Table {
    pub(crate) fn new(engines: Vec<&'static str>) -> Self {
        Self {
            engines,
            rounds: Vec::new(),
        }
    }

    pub(crate) fn head(&self) -> String {
        let rule = self.engines.iter().map(|_| "---:".to_owned());
        format!(
            "{}\n{}",
            row("round", self.engines.iter().map(|name| (*name).to_owned())),
            row("---", rule)
        )
    }

    /// The row of a round: one speed per engine, in items per second.
    pub(crate) fn add_round(&mut self, speeds: Vec<f64>) -> String {
        let cells = speeds
            .iter()
            .map(|speed| thousands(*speed))
            .collect::<Vec<_>>();
        self.rounds.push(speeds);
        row(&self.rounds.len().to_string(), cells)
    }

    pub(crate) fn summary(&self) -> String {
        let medians: Vec<f64> = (0..self.engines.len())
            .map(|engine| self.median(engine))
            .collect();
        let ratios = medians
            .iter()
            .map(|median| format!("{:.2}x", median / medians[0]));
        format!(
            "{}\n{}",
            row("median", medians.iter().map(|median| thousands(*median))),
            row(&format!("against {}", self.engines[0]), ratios)
        )
    }

    fn median(&self, engine: usize) -> f64 {
        let mut speeds: Vec<f64> = self.rounds.iter().map(|round| round[engine]).collect();
        speeds.sort_by(f64::total_cmp);
        let middle = speeds.len() / 2;
        if speeds.len().is_multiple_of(2) {
            (speeds[middle - 1] + speeds[middle]) / 2.0
        } else {
            speeds[middle]
        }
    }
}

fn row(first: &str, cells: impl IntoIterator<Item = String>) -> String {
    let mut line = format!("| {first} |");
    for cell in cells {
        // Writing to a String cannot fail.
        let _ = write!(line, " {cell} |");
    }
    line
}

/// 1234567.8 as 1,234,568.
fn thousands(speed: f64) -> String {
    let digits = format!("{speed:.0}");
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_shows_medians_and_multiples_of_the_first_engine() {
        let mut table = Table::new(vec!["a", "b"]);
        assert_eq!(table.head(), "| round | a | b |\n| --- | ---: | ---: |");
        assert_eq!(table.add_round(vec![100.0, 999.0]), "| 1 | 100 | 999 |");
        table.add_round(vec![300.0, 1_000.0]);
        table.add_round(vec![1_000.0, 200_000.0]);
        assert_eq!(
            table.summary(),
            "| median | 300 | 1,000 |\n| against a | 1.00x | 3.33x |"
        );
    }

    #[test]
    fn the_median_of_an_even_number_of_rounds_is_the_mean_of_the_middle_two() {
        let mut table = Table::new(vec!["a"]);
        table.add_round(vec![10.0]);
        table.add_round(vec![20.0]);
        assert_eq!(table.summary(), "| median | 15 |\n| against a | 1.00x |");
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(
            [0.4, 12.0, 999.6, 1_234_567.8].map(thousands),
            ["0", "12", "1,000", "1,234,568"]
        );
    }
}
