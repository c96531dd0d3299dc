//! Generates the client from the document that is committed.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let document = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../api/openapi.json");
    println!("cargo:rerun-if-changed={}", document.display());
    let text = fs::read_to_string(document).expect("the document is there");
    let document: openapiv3::OpenAPI = serde_json::from_str(&text).expect("the document can be read");

    let mut settings = progenitor::GenerationSettings::default();
    settings.with_interface(progenitor::InterfaceStyle::Builder);
    let mut generator = progenitor::Generator::new(&settings);
    let tokens = generator
        .generate_tokens(&document)
        .expect("a client can be generated");
    let file = syn::parse2(tokens).expect("the client is Rust");
    let output = PathBuf::from(env::var("OUT_DIR").expect("cargo names it")).join("lockstep.rs");
    fs::write(output, prettyplease::unparse(&file)).expect("the client can be written");
}
