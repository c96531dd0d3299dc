//! Generates the client from the document that is committed.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let document = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../api/openapi.json");
    println!("cargo:rerun-if-changed={}", document.display());
    let text = fs::read_to_string(document).expect("the document is there");
    let mut document: openapiv3::OpenAPI = serde_json::from_str(&text).expect("the document can be read");
    leave_out_lines(&mut document);

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

/// progenitor refuses a document in which a request has a media type that it doesn't know, so the operations that take lines
/// of JSON are left out for it. They take no more than a body, which any HTTP client sends.
fn leave_out_lines(document: &mut openapiv3::OpenAPI) {
    for (_, path) in &mut document.paths.paths {
        let openapiv3::ReferenceOr::Item(path) = path else {
            continue;
        };
        let takes_lines = |operation: &openapiv3::Operation| {
            let body = operation.request_body.as_ref().and_then(|body| body.as_item());
            body.is_some_and(|body| body.content.contains_key("application/x-ndjson"))
        };
        if path.put.as_ref().is_some_and(takes_lines) {
            path.put = None;
        }
    }
}
