//! How far a run is, on stderr and only where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TICK: Duration = Duration::from_millis(200);

/// A line that says what is being done.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows nothing where nobody looks.
    ///
    /// # Panics
    /// Never: the template is one.
    #[must_use]
    pub fn new() -> Self {
        let style = ProgressStyle::with_template("{elapsed:>4} {bar:24} {pos}/{len} {msg}");
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        bar.set_style(style.expect("the template is one").progress_chars("=> "));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    /// Something begins that takes so many steps.
    pub fn begin(&self, what: String, steps: u64) {
        self.0.set_position(0);
        self.0.set_length(steps);
        self.0.set_message(what);
    }

    /// So many steps of it are done.
    pub fn step(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// The line, for whoever does the steps.
    pub(super) fn handle(&self) -> ProgressBar {
        self.0.clone()
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
