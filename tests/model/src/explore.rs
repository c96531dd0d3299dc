//! Looks at every state that can be reached, breadth first, so that what is found is found on a shortest way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::property::{self, Violation};
use crate::scenario::Scenario;
use crate::state::State;
use crate::step::{self, Step};

/// What looking at everything brought.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    pub steps: usize,
    /// States in which everything is done.
    pub ends: usize,
    pub finding: Option<Finding>,
}

/// Something that is broken, and the shortest way to it.
#[derive(Debug)]
pub struct Finding {
    pub violation: Violation,
    pub way: Vec<Step>,
    pub last: State,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.way.iter().enumerate() {
            writeln!(f, "{:>3}. {step}", number + 1)?;
        }
        write!(f, "     {}", self.violation)
    }
}

/// Looks at every state of a scenario until something is broken.
///
/// That it ends is asked of every state: from each there must be a way to one in which everything is done. With fair
/// workers and a network that does not lose everything for ever, that is the same as getting there.
pub fn explore(scenario: &Scenario) -> Explored {
    let mut known = Known::default();
    known.add(step::first());
    let mut came_by: Vec<Option<(u32, Step)>> = vec![None];
    let mut edges: Vec<(u32, u32)> = Vec::new();
    let mut ends = Vec::new();
    let mut next = Vec::new();
    let mut at = 0;
    let mut finding = None;
    'looking: while at < known.states.len() {
        let state = known.states[at];
        let from = index(at);
        if property::is_end(scenario, &state) {
            ends.push(from);
        }
        step::all(scenario, &state, &mut next);
        for next in &next {
            let (to, is_new) = known.add(next.state);
            if is_new {
                came_by.push(Some((from, next.step)));
            }
            edges.push((from, to));
            let judged = || property::judge(scenario, &next.state).filter(|_| is_new);
            if let Some(violation) = next.violation.or_else(judged) {
                let mut way = way_to(&came_by, from);
                way.push(next.step);
                let last = next.state;
                finding = Some(Finding { violation, way, last });
                break 'looking;
            }
        }
        at += 1;
    }
    if finding.is_none() {
        finding = first_without_end(known.states.len(), &edges, &ends).map(|lost| Finding {
            violation: Violation::NeverEnds,
            way: way_to(&came_by, lost),
            last: known.states[lost as usize],
        });
    }
    Explored {
        states: known.states.len(),
        steps: edges.len(),
        ends: ends.len(),
        finding,
    }
}

fn way_to(came_by: &[Option<(u32, Step)>], mut to: u32) -> Vec<Step> {
    let mut way = Vec::new();
    while let Some((from, step)) = came_by[to as usize] {
        way.push(step);
        to = from;
    }
    way.reverse();
    way
}

/// Returns the state nearest to the first from which no end can be reached.
fn first_without_end(states: usize, edges: &[(u32, u32)], ends: &[u32]) -> Option<u32> {
    // Where the predecessors of each state begin in one long list of them.
    let mut begins = vec![0_u32; states + 1];
    for (_, to) in edges {
        begins[*to as usize + 1] += 1;
    }
    for state in 0..states {
        begins[state + 1] += begins[state];
    }
    let mut filled = begins.clone();
    let mut before = vec![0_u32; edges.len()];
    for (from, to) in edges {
        before[filled[*to as usize] as usize] = *from;
        filled[*to as usize] += 1;
    }
    let mut can_end = vec![false; states];
    let mut waiting = ends.to_vec();
    for end in ends {
        can_end[*end as usize] = true;
    }
    while let Some(state) = waiting.pop() {
        let (from, to) = (begins[state as usize], begins[state as usize + 1]);
        for earlier in &before[from as usize..to as usize] {
            if !std::mem::replace(&mut can_end[*earlier as usize], true) {
                waiting.push(*earlier);
            }
        }
    }
    can_end.iter().position(|can| !can).map(index)
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("fewer states than fit into 32 bits")
}

/// All states that were met, each once. States that share a hash are told apart by themselves.
#[derive(Default)]
struct Known {
    states: Vec<State>,
    places: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
}

impl Known {
    fn add(&mut self, state: State) -> (u32, bool) {
        let mut hasher = Mixer::default();
        state.hash(&mut hasher);
        let mut hash = hasher.finish();
        loop {
            match self.places.entry(hash) {
                Entry::Vacant(place) => {
                    let index = index(self.states.len());
                    place.insert(index);
                    self.states.push(state);
                    return (index, true);
                }
                Entry::Occupied(place) if self.states[*place.get() as usize] == state => {
                    return (*place.get(), false);
                }
                Entry::Occupied(_) => hash = hash.wrapping_add(1),
            }
        }
    }
}

/// Mixes a state's fields into one number; several times faster than the standard hasher on so many small fields.
#[derive(Default)]
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value.wrapping_add(0x51)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(u64::from_ne_bytes(value.to_ne_bytes()));
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(u64::from_ne_bytes(value.to_ne_bytes()));
    }
}

/// Takes what is a hash already as it is.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
