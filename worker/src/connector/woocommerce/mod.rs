//! WooCommerce.
