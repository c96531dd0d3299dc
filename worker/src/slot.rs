//! The slot that a batch or a check takes up in a worker, until it has to wait: who waits for a token holds none.
//!
//! A batch that finds no token soon is parked: its bell counts as answered, so that the queue hands its slot to the next one,
//! and it goes on by itself when its token has come. So nothing that it has read is thrown away, and nobody waits for it. A
//! process parks only so many, because each keeps in memory what it has read; it can't be kept from going on where there is
//! no room, only from beginning.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The slot of one batch or check.
#[derive(Debug)]
pub struct Slot {
    room: Arc<Semaphore>,
    parked: Mutex<Option<OwnedSemaphorePermit>>,
    left: CancellationToken,
}

impl Slot {
    /// Takes up a slot; `room` is for those that are parked. `left` is cancelled once the slot is free for others.
    pub fn new(room: Arc<Semaphore>, left: CancellationToken) -> Self {
        Self {
            room,
            parked: Mutex::default(),
            left,
        }
    }

    /// Says whether its owner is parked, or could be.
    pub fn can_leave(&self) -> bool {
        self.left.is_cancelled() || self.room.available_permits() > 0
    }

    /// Leaves the slot to others, where there is room to park, and says whether it is left. It is never taken up again.
    pub fn leave(&self) -> bool {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if parked.is_none()
            && let Ok(permit) = self.room.clone().try_acquire_owned()
        {
            *parked = Some(permit);
            self.left.cancel();
        }
        parked.is_some()
    }
}
