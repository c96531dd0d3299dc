//! Random bytes of the operating system's, for secrets and nonces.

use rand::TryRng;
use rand::rngs::SysRng;

use crate::problem::Refused;

/// Draws bytes that nobody can guess.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Refused::internal("the system gave no random bytes", &error))?;
    Ok(bytes)
}
