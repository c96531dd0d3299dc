//! The calls that one order can take, in their order.
//!
//! Things that an order needs and that are missing (a guest's partner, an address, a tax) are made first, one kind after
//! the other, each a step of its own; what is missing is read anew every time, so a step that was done by somebody else
//! meanwhile is not done again. Then a new order is loaded whole, and one that is there is changed where it differs.
//! What it amounts to is read back before it is agreed, so that no order is agreed with another total than was charged.

use super::super::super::Step;

/// Most steps that set something up; an order that needs more never gets what it needs.
pub(super) const LAST_SETUP: Step = Step(29);

/// A cancelled order that is wanted again becomes a draft first: its lines may be changed then.
pub(super) const RESTORE: Step = Step(35);
pub(super) const HEAD: Step = Step(40);
pub(super) const LINES: Step = Step(41);
/// Lines that are gone are emptied, or removed from a draft.
pub(super) const GONE: Step = Step(42);
pub(super) const NEW_LINES: Step = Step(43);
/// The total is checked; where taxes can't be forced, a line makes up for what it is off.
pub(super) const TOTAL: Step = Step(44);
pub(super) const STATE: Step = Step(46);
/// Agreeing on an order puts the time of that in the place of when it was placed (facts/mapping-odoo.md §3).
pub(super) const DATE: Step = Step(47);

pub(super) const fn after(step: Step) -> Step {
    Step(step.0 + 1)
}
