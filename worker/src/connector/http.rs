//! The one way out: an HTTP client with limits.
