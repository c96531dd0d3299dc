//! A model of the batch protocol, small enough to look at every interleaving of it.
//!
//! [`scenario`] says what is modelled and which guards are in, [`state`] what rows, workers, network and remote may look
//! like, [`step`] what can happen next (each step names the function of the workspace that it stands for), [`property`]
//! what must hold, [`explore`] looks at everything.
//!
//! Not modelled: buckets, poison and halving, several things in one request, SQL isolation (every transaction is one
//! step, a settlement two), deletions and what people change in the remote. The integration tests cover those.

pub mod explore;
pub mod property;
pub mod scenario;
pub mod state;
pub mod step;
