//! Progress with rate and remaining time: a bar on a terminal, otherwise a plain line every few seconds.
//!
//! Always on standard error, so that standard output contains only the results; nothing with `--quiet`.

use super::output::escaped;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Interval between plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Progress of one phase of a command. Shared between threads by reference.
pub(crate) struct Progress {
    label: String,
    unit: &'static str,
    started: Instant,
    output: Output,
}

enum Output {
    Nothing,
    Bar(ProgressBar),
    Lines(Mutex<Instant>),
}

/// State of a phase.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    /// Units done.
    pub(crate) done: u64,
    /// Total units, if known.
    pub(crate) total: Option<u64>,
    /// Fraction done, 0 to 1, if known in another way (bytes read of a file).
    pub(crate) part: Option<f64>,
}

impl Progress {
    /// Starts a phase; `unit` is plural: `items`, `words`.
    pub(crate) fn start(label: impl Into<String>, unit: &'static str, quiet: bool) -> Self {
        Self::since(Instant::now(), label, unit, quiet)
    }

    /// As [`start`](Self::start), for a phase that began earlier.
    pub(crate) fn since(started: Instant, label: impl Into<String>, unit: &'static str, quiet: bool) -> Self {
        let label = escaped(&label.into()).into_owned();
        let output = if quiet {
            Output::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr_with_hz(8));
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(label.clone());
            Output::Bar(bar)
        } else {
            Output::Lines(Mutex::new(Instant::now()))
        };
        Self { label, unit, started, output }
    }

    /// Updates the progress; appends `note` (a loss, a phase).
    pub(crate) fn step(&self, step: Step, note: &str) {
        match &self.output {
            Output::Nothing => {}
            Output::Bar(bar) => {
                bar.set_position((step.part().unwrap_or(0.0) * 1_000.0) as u64);
                bar.set_message(self.text(step, note));
            }
            Output::Lines(last) => {
                // Another thread is printing; skip this update.
                let Ok(mut last) = last.try_lock() else { return };
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    self.line(&format!("{}: {}", self.label, self.text(step, note)));
                }
            }
        }
    }

    /// Ends the phase with one permanent line.
    pub(crate) fn finish(&self, outcome: &str) {
        match &self.output {
            Output::Nothing => {}
            Output::Bar(bar) => {
                bar.finish_and_clear();
                self.line(&format!("{}: {outcome}", self.label));
            }
            Output::Lines(_) => self.line(&format!("{}: {outcome}", self.label)),
        }
    }

    /// Ends the phase silently (an error follows).
    pub(crate) fn abandon(&self) {
        if let Output::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
    }

    /// Prints a message without breaking the bar, even with `--quiet`.
    pub(crate) fn warn(&self, message: &str) {
        match &self.output {
            Output::Bar(bar) => bar.suspend(|| self.line(message)),
            Output::Nothing | Output::Lines(_) => self.line(message),
        }
    }

    /// Returns the seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn line(&self, text: &str) {
        use std::io::Write;
        // If standard error is closed, there is nothing to do.
        let _ = writeln!(std::io::stderr(), "{}", escaped(text));
    }

    fn text(&self, step: Step, note: &str) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let mut text = match step.total {
            Some(total) => format!("{} of {} {}", count(step.done), count(total), self.unit),
            None => format!("{} {}", count(step.done), self.unit),
        };
        if seconds > 0.2 {
            text += &format!(", {}/s", count((step.done as f64 / seconds) as u64));
        }
        if let Some(part) = step.part().filter(|part| *part > 0.0) {
            text += &format!(", {:.0} %", part * 100.0);
            if seconds > 1.0 {
                text += &format!(", {} left", duration(seconds * (1.0 - part) / part));
            }
        }
        if !note.is_empty() {
            text += &format!(", {}", escaped(note));
        }
        text
    }
}

impl Step {
    fn part(&self) -> Option<f64> {
        let by_count = self.total.filter(|total| *total > 0).map(|total| self.done as f64 / total as f64);
        self.part.or(by_count).map(|part| part.clamp(0.0, 1.0))
    }
}

/// Formats as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Minimum time to compute a rate from, seconds: below it, clock resolution dominates.
const MIN_MEASURED_SECONDS: f64 = 0.01;

/// Returns the units per second; none if the time is too short.
pub(crate) fn rate(units: u64, seconds: f64) -> Option<f64> {
    (seconds >= MIN_MEASURED_SECONDS).then(|| units as f64 / seconds)
}

/// Formats as `, 1,234 items/s`, or nothing.
pub(crate) fn in_words(rate: Option<f64>, unit: &str) -> String {
    rate.map_or_else(String::new, |rate| format!(", {} {unit}/s", count(rate as u64)))
}

/// Formats as `12.3 MB`.
pub(crate) fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{:.1} kB", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number as f64 / 1e6),
        _ => format!("{:.2} GB", number as f64 / 1e9),
    }
}

/// Formats as `7 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_for_reading() {
        assert_eq!([count(0), count(999), count(1_000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([duration(7.4), duration(200.0), duration(7_500.0)], ["7 s", "3 min 20 s", "2 h 5 min"]);
        assert_eq!([bytes(12), bytes(12_340), bytes(3_000_000_000)], ["12 B", "12.3 kB", "3.00 GB"]);
    }

    #[test]
    fn a_very_short_time_gives_no_rate() {
        assert_eq!((rate(80, 1e-7), rate(80, 2.0)), (None, Some(40.0)));
        assert_eq!(in_words(rate(80, 0.0), "images"), "");
        assert_eq!(in_words(Some(1234.5), "images"), ", 1,234 images/s");
    }

    #[test]
    fn the_part_done_stays_between_0_and_1() {
        assert_eq!(Step { done: 5, total: Some(4), part: None }.part(), Some(1.0));
        assert_eq!(Step { done: 5, total: Some(0), part: None }.part(), None);
        assert_eq!(Step { done: 5, total: Some(10), part: Some(0.25) }.part(), Some(0.25));
    }
}
