//! `identity`: forwards every record as it is. Also built as a core module, for other targets.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, export_operators};

struct Identity {
    out: Output,
}

impl Operator for Identity {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { out: setup.output("out") })
    }

    fn process(&self, _: &Record, ctx: &mut Context) -> Result<()> {
        ctx.forward(self.out);
        Ok(())
    }
}

export_operators! { "identity": Identity }
