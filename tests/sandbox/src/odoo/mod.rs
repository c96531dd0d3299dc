//! tmp
#[derive(Debug)] pub struct Erp; #[derive(Debug,Default)] pub struct ErpOptions;
impl Erp { pub async fn start(_:ErpOptions)->std::io::Result<Self>{Ok(Self)} }
