//! Loads what two real servers held, with its ids, from a folder that is not part of the project.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::odoo::Erp;
use crate::woocommerce::Store;

/// How much was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    pub store_records: usize,
    pub erp_records: usize,
}

/// Why a recording could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    #[error("could not read `{path}`")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` is no recording")]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{path}` holds no object")]
    NoObject { path: PathBuf },
}

/// Loads `woocommerce.json` and `odoo.json` of a folder; nothing of it is counted in a ledger.
///
/// # Errors
/// When a file is missing or is no JSON object.
pub fn load(folder: &Path, store: &Store, erp: &Erp) -> Result<Loaded, RecordedError> {
    let shop = read(folder.join("woocommerce.json"))?;
    let office = read(folder.join("odoo.json"))?;
    let Value::Object(models) = office else {
        return Err(RecordedError::NoObject {
            path: folder.join("odoo.json"),
        });
    };
    Ok(Loaded {
        store_records: store.restore(&shop),
        erp_records: erp.restore(&models),
    })
}

fn read(path: PathBuf) -> Result<Value, RecordedError> {
    let text = std::fs::read_to_string(&path).map_err(|source| RecordedError::Unreadable {
        path: path.clone(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| RecordedError::Malformed { path, source })
}
