//! `json-filter`: parses each value into a struct and forwards those of at least 100 cents that are paid.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, export_operators};
use serde::Deserialize;

#[derive(Deserialize)]
struct Order {
    cents: u64,
    status: String,
}

struct JsonFilter {
    kept: Output,
}

impl Operator for JsonFilter {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { kept: setup.output("kept") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let order: Order = record.json()?;
        if order.cents >= 100 && order.status == "paid" {
            ctx.forward(self.kept);
        }
        Ok(())
    }
}

export_operators! { "json-filter": JsonFilter }
