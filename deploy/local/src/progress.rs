//! How far a sync is, on standard error: a bar for each stage at a terminal, and a line for each stage that ended
//! anywhere else.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lockstep_shared::stage::Status;
use lockstep_shared::system::Direction;

use crate::client::Stage;
use crate::remote::title;

const PUSH: &str = "{prefix} {bar:30} {pos}/{len}  {per_sec}  {eta} left";
const PUSHED: &str = "{prefix} {bar:30} {pos}/{len}  {msg}";
const PULL: &str = "{prefix} {spinner} {pos}  {per_sec}";
const PULLED: &str = "{prefix} {pos}  {msg}";
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Shows the stages of one sync.
#[derive(Debug)]
pub(crate) enum Board {
    Bars(MultiProgress, Vec<Shown>),
    Lines(Vec<Shown>),
}

/// One stage, as far as it was shown.
#[derive(Debug)]
pub(crate) struct Shown {
    bar: Option<ProgressBar>,
    is_over: bool,
}

impl Board {
    pub(crate) fn new() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars(MultiProgress::new(), Vec::new())
        } else {
            Self::Lines(Vec::new())
        }
    }

    /// Shows where the stages stand now.
    pub(crate) fn show(&mut self, stages: &[Stage]) {
        let (bars, shown) = match self {
            Self::Bars(bars, shown) => (Some(bars), shown),
            Self::Lines(shown) => (None, shown),
        };
        for (position, stage) in stages.iter().enumerate() {
            if shown.len() == position {
                shown.push(Shown {
                    bar: None,
                    is_over: false,
                });
            }
            let one = &mut shown[position];
            if one.is_over || stage.status == Status::Waiting {
                continue;
            }
            let is_over = matches!(stage.status, Status::Finished | Status::Failed);
            let end = is_over.then(|| words(stage, stage.took().unwrap_or_default()));
            match &bars {
                Some(bars) => one.draw(bars, stage, end),
                None => {
                    if let Some(end) = end {
                        eprintln!("{}: {end}", label(stage));
                    }
                }
            }
            one.is_over = is_over;
        }
    }
}

impl Shown {
    fn draw(&mut self, bars: &MultiProgress, stage: &Stage, end: Option<String>) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(stage.total));
            bar.set_prefix(format!("{:<27}", label(stage)));
            bar.enable_steady_tick(TICK);
            bar
        });
        let (running, over) = match stage.direction {
            Direction::Pull => (PULL, PULLED),
            Direction::Push => (PUSH, PUSHED),
        };
        bar.set_length(stage.total);
        if bar.position() == 0 && end.is_none() {
            bar.set_style(style(running));
        }
        bar.set_position(done(stage));
        if let Some(end) = end {
            bar.set_style(style(over));
            bar.finish_with_message(end);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants that were tried")
        .progress_chars("=> ")
}

/// Returns what a stage is called: `push Odoo products`.
fn label(stage: &Stage) -> String {
    let (direction, entity) = (stage.direction.name(), stage.entity_type.name());
    format!("{direction} {} {entity}", title(stage.system))
}

const fn done(stage: &Stage) -> u64 {
    match stage.direction {
        Direction::Pull => stage.counts.seen,
        Direction::Push => stage.counts.settled(),
    }
}

/// Says how a stage ended.
fn words(stage: &Stage, took: Duration) -> String {
    if let Some(error) = &stage.error {
        return format!("failed: {error}");
    }
    let counts = &stage.counts;
    let mut parts = match stage.direction {
        Direction::Pull => vec![format!("{} read", counts.seen)],
        Direction::Push => {
            let kinds = [
                (counts.created, "created"),
                (counts.updated, "updated"),
                (counts.unchanged, "unchanged"),
            ];
            kinds
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, word)| format!("{count} {word}"))
                .collect()
        }
    };
    let troubles = [
        (counts.skipped, "skipped"),
        (counts.failed, "failed"),
        (counts.conflicts, "in conflict"),
    ];
    let troubles = troubles.into_iter().filter(|(count, _)| *count > 0);
    parts.extend(troubles.map(|(count, word)| format!("{count} {word}")));
    if parts.is_empty() {
        return "nothing to do".to_owned();
    }
    format!(
        "{} in {:.1} s{}",
        parts.join(", "),
        took.as_secs_f64(),
        rate(done(stage), took)
    )
}

/// Says how many a second that were, where it was long enough to tell.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(count: u64, took: Duration) -> String {
    if count == 0 || took < Duration::from_millis(500) {
        return String::new();
    }
    format!(", {:.0}/s", count as f64 / took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use lockstep_shared::system::{EntityType, System};

    use super::*;
    use crate::client::Counts;

    fn stage(direction: Direction, counts: Counts) -> Stage {
        Stage {
            direction,
            system: System::Odoo,
            entity_type: EntityType::Products,
            status: Status::Finished,
            total: 12,
            counts,
            started_at: None,
            completed_at: None,
            error: None,
        }
    }

    #[test]
    fn the_templates_are_right() {
        for template in [PUSH, PUSHED, PULL, PULLED] {
            style(template);
        }
    }

    #[test]
    fn a_stage_says_what_came_of_it() {
        let took = Duration::from_secs(2);
        let pushed = Counts {
            created: 8,
            unchanged: 2,
            conflicts: 2,
            ..Counts::default()
        };
        let pulled = Counts {
            seen: 30,
            created: 30,
            ..Counts::default()
        };

        let push = stage(Direction::Push, pushed);
        assert_eq!(label(&push), "push Odoo products");
        assert_eq!(
            words(&push, took),
            "8 created, 2 unchanged, 2 in conflict in 2.0 s, 6/s"
        );
        assert_eq!(
            words(&stage(Direction::Pull, pulled), took),
            "30 read in 2.0 s, 15/s"
        );
        assert_eq!(
            words(&stage(Direction::Push, Counts::default()), took),
            "nothing to do"
        );
    }

    #[test]
    fn a_stage_that_failed_says_why() {
        let mut failed = stage(Direction::Push, Counts::default());
        failed.error = Some("Odoo refuses the credentials".to_owned());

        let words = words(&failed, Duration::ZERO);

        assert_eq!(words, "failed: Odoo refuses the credentials");
    }
}
