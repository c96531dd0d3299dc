//! What the run is asked for, on its command line or in its environment.

use std::path::PathBuf;

use clap::{Args, Parser};
use lockstep_sandbox::seed::SeedPlan;
use secrecy::SecretString;
use url::Url;

/// Things that generated data has where nobody says otherwise.
const PRODUCTS: usize = 500;
const CUSTOMERS: usize = 300;
/// Orders that are made up where nothing else is said.
const ORDERS: usize = 400;
/// Refunds that are made up where nothing else is said.
const REFUNDS: usize = 40;
const SEED: u64 = 1;

/// Runs all of Lockstep on this machine: a Postgres of its own, the API, a worker, and a stand-in for each remote system
/// that no address is given for. Then it brings both systems into step and says what that came to.
#[derive(Debug, Parser)]
#[command(name = "lockstep-local", version)]
pub struct Cli {
    /// End after the first sync: with status 0 if everything is in step, and 1 if not.
    #[arg(long)]
    pub once: bool,
    /// Forget what earlier runs left in the data folder. Real systems keep what they have: things in them without SKU or
    /// e-mail may then be made twice.
    #[arg(long)]
    pub fresh: bool,
    /// Folder for everything that has to last until the next run.
    #[arg(
        long,
        env = "LOCKSTEP_LOCAL_DATA",
        value_name = "FOLDER",
        default_value = ".lockstep"
    )]
    pub data: PathBuf,
    /// Port of the API on 127.0.0.1; 0 takes one that is free.
    #[arg(long, env = "LOCKSTEP_LOCAL_PORT", default_value_t = 0)]
    pub port: u16,
    /// Print logs to standard error, in the syntax of `RUST_LOG`; without it, they go to `lockstep.log` in the data
    /// folder.
    #[arg(long, env = "LOCKSTEP_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    #[command(flatten)]
    pub contents: ContentOptions,
    #[command(flatten)]
    pub woocommerce: WoocommerceOptions,
    #[command(flatten)]
    pub odoo: OdooOptions,
}

/// What the stand-ins hold before the first sync.
#[derive(Debug, Default, Args)]
pub struct ContentOptions {
    /// Fill the stand-ins with what two real servers held: a folder with `woocommerce.json` and `odoo.json`.
    #[arg(
        long,
        env = "LOCKSTEP_LOCAL_RECORDED",
        value_name = "FOLDER",
        conflicts_with_all = ["products", "customers", "orders", "refunds", "seed", "woocommerce_url", "odoo_url"]
    )]
    pub recorded: Option<PathBuf>,
    /// Products to make up, over both stand-ins [default: 500].
    #[arg(
        long,
        env = "LOCKSTEP_LOCAL_PRODUCTS",
        value_name = "N",
        value_parser = counted,
        conflicts_with_all = ["woocommerce_url", "odoo_url"]
    )]
    pub products: Option<usize>,
    /// Customers to make up, over both stand-ins [default: 300].
    #[arg(
        long,
        env = "LOCKSTEP_LOCAL_CUSTOMERS",
        value_name = "N",
        value_parser = counted,
        conflicts_with_all = ["woocommerce_url", "odoo_url"]
    )]
    pub customers: Option<usize>,
    /// Orders to make up in the store [default: 400].
    #[arg(
        long,
        env = "LOCKSTEP_LOCAL_ORDERS",
        value_name = "N",
        value_parser = counted,
        conflicts_with_all = ["woocommerce_url", "odoo_url"]
    )]
    pub orders: Option<usize>,
    /// Refunds to make up, of orders that were paid [default: 40].
    #[arg(
        long,
        env = "LOCKSTEP_LOCAL_REFUNDS",
        value_name = "N",
        value_parser = counted,
        conflicts_with_all = ["woocommerce_url", "odoo_url"]
    )]
    pub refunds: Option<usize>,
    /// Number from which everything made up follows: the same number, the same data [default: 1].
    #[arg(
        long,
        env = "LOCKSTEP_LOCAL_SEED",
        value_name = "N",
        conflicts_with_all = ["woocommerce_url", "odoo_url"]
    )]
    pub seed: Option<u64>,
}

impl ContentOptions {
    /// Returns what is to be made up, with the defaults.
    pub fn plan(&self) -> SeedPlan {
        SeedPlan {
            seed: self.seed.unwrap_or(SEED),
            products: self.products.unwrap_or(PRODUCTS),
            customers: self.customers.unwrap_or(CUSTOMERS),
            orders: self.orders.unwrap_or(ORDERS),
            refunds: self.refunds.unwrap_or(REFUNDS),
        }
    }
}

/// The store, where it is a real one.
#[derive(Debug, Default, Args)]
pub struct WoocommerceOptions {
    /// Address of a real WooCommerce shop, instead of the stand-in.
    #[arg(
        long,
        env = "LOCKSTEP_WOOCOMMERCE_URL",
        value_name = "URL",
        requires_all = ["woocommerce_key", "woocommerce_secret"]
    )]
    pub woocommerce_url: Option<Url>,
    /// Consumer key of that shop, `ck_…`.
    #[arg(
        long,
        env = "LOCKSTEP_WOOCOMMERCE_KEY",
        hide_env_values = true,
        value_name = "KEY",
        requires = "woocommerce_url"
    )]
    pub woocommerce_key: Option<SecretString>,
    /// Consumer secret of that shop, `cs_…`.
    #[arg(
        long,
        env = "LOCKSTEP_WOOCOMMERCE_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        requires = "woocommerce_url"
    )]
    pub woocommerce_secret: Option<SecretString>,
}

/// The ERP, where it is a real one.
#[derive(Debug, Default, Args)]
pub struct OdooOptions {
    /// Address of a real Odoo server, instead of the stand-in.
    #[arg(
        long,
        env = "LOCKSTEP_ODOO_URL",
        value_name = "URL",
        requires_all = ["odoo_database", "odoo_login", "odoo_api_key"]
    )]
    pub odoo_url: Option<Url>,
    /// Database of that server.
    #[arg(
        long,
        env = "LOCKSTEP_ODOO_DATABASE",
        value_name = "NAME",
        requires = "odoo_url"
    )]
    pub odoo_database: Option<String>,
    /// Login of a user of that database.
    #[arg(
        long,
        env = "LOCKSTEP_ODOO_LOGIN",
        value_name = "LOGIN",
        requires = "odoo_url"
    )]
    pub odoo_login: Option<String>,
    /// An API key of that user.
    #[arg(
        long,
        env = "LOCKSTEP_ODOO_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        requires = "odoo_url"
    )]
    pub odoo_api_key: Option<SecretString>,
}

/// Most things of one type that are made up: the stand-ins hold them all in memory.
const MOST: usize = 200_000;

fn counted(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number <= MOST => Ok(number),
        _ => Err(format!("must be a number from 0 to {MOST}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Cli, ErrorKind> {
        let program = ["lockstep-local"];
        Cli::try_parse_from(program.iter().chain(arguments)).map_err(|error| error.kind())
    }

    #[test]
    fn the_options_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let cli = parsed(&[]).unwrap();

        let plan = SeedPlan {
            seed: 1,
            products: 500,
            customers: 300,
            orders: 400,
            refunds: 40,
        };
        assert_eq!(cli.contents.plan(), plan);
        assert_eq!(cli.data, PathBuf::from(".lockstep"));
        assert!(!cli.once && !cli.fresh && cli.log.is_none());
    }

    #[test]
    fn recorded_data_and_made_up_data_exclude_each_other() {
        assert_eq!(
            parsed(&["--recorded", "x", "--products", "5"]).unwrap_err(),
            ErrorKind::ArgumentConflict
        );
        assert!(parsed(&["--recorded", "x"]).is_ok());
    }

    #[test]
    fn a_real_system_comes_with_its_credentials_and_is_not_filled() {
        let odoo = [
            "--odoo-url",
            "https://erp.example.com",
            "--odoo-database",
            "d",
            "--odoo-login",
            "l",
        ];
        let whole = [&odoo[..], &["--odoo-api-key", "k"]].concat();

        assert_eq!(parsed(&odoo).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(
            parsed(&["--woocommerce-key", "ck_1"]).unwrap_err(),
            ErrorKind::MissingRequiredArgument
        );
        assert!(parsed(&whole).is_ok());
        let filled = [&whole[..], &["--products", "5"]].concat();
        assert_eq!(parsed(&filled).unwrap_err(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let cli = parsed(&[
            "--woocommerce-url",
            "https://shop.example.com",
            "--woocommerce-key",
            "ck_hidden",
            "--woocommerce-secret",
            "cs_hidden",
        ]);

        assert!(!format!("{:?}", cli.unwrap()).contains("hidden"), "R70");
    }
}
