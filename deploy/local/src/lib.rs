//! What a run on one machine needs besides the programs themselves.

pub mod postgres;
