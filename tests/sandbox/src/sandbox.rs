//! Both stand-ins at once.

use crate::odoo::{Erp, ErpOptions};
use crate::woocommerce::{Store, StoreOptions};

/// A shop and an ERP, each on a port of its own, both empty.
#[derive(Debug)]
pub struct Sandbox {
    pub store: Store,
    pub erp: Erp,
}

impl Sandbox {
    /// Starts both with their default options.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start() -> std::io::Result<Self> {
        let store = Store::start(StoreOptions::default()).await?;
        let erp = Erp::start(ErpOptions::default()).await?;
        Ok(Self { store, erp })
    }
}
