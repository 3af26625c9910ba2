//! An operator that sets timers as its records say, for tests of the host.

use millstream_sdk::{
    Context, EventTimer, Fired, OnTimer, Operator, Output, ProcessingTimer, Record, Result, Setup, Value,
    export_operators, reject,
};

/// Sets and cancels timers, word by word, and emits those that fire with their number.
struct Alarms {
    event: EventTimer,
    other: EventTimer,
    clock: ProcessingTimer,
    fired: Value<u64>,
    out: Output,
}

impl Operator for Alarms {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self {
            event: setup.event_timer("event"),
            other: setup.event_timer("other"),
            clock: setup.processing_timer("clock"),
            fired: setup.value("fired"),
            out: setup.output("out"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        for word in record.text()?.split(' ') {
            match word.split('=').collect::<Vec<_>>()[..] {
                ["event", at] => self.event.set(ctx, at.parse()?),
                ["other", at] => self.other.set(ctx, at.parse()?),
                ["clock", at] => self.clock.set(ctx, at.parse()?),
                ["each", at] => self.event.set_id(ctx, at.parse()?, at.parse()?),
                ["cancel"] => self.event.cancel(ctx),
                ["cancel", id] => self.event.cancel_id(ctx, id.parse()?),
                ["panic"] => panic!("as the record says"),
                _ => return Err(reject("no such word")),
            }
        }
        Ok(())
    }
}

impl OnTimer for Alarms {
    fn on_timer(&self, timer: &Fired, ctx: &mut Context) -> Result<()> {
        let fired = self.fired.get(ctx)?.unwrap_or(0) + 1;
        self.fired.set(ctx, &fired);
        let name = [self.event, self.other].iter().position(|event| timer.is(*event));
        ctx.emit_display(self.out, format_args!("{name:?} {} at {}, {fired}", timer.id(), timer.time_ms()));
        match timer.time_ms() {
            13 => Err(reject("an unlucky time")),
            14 => panic!("a very unlucky time"),
            15 => {
                ctx.forward(self.out);
                Ok(())
            }
            20 => {
                self.event.set(ctx, 21);
                self.other.cancel(ctx);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Declares a timer and exports nothing that handles it: the SDK says so.
struct Mute;

impl Operator for Mute {
    fn open(setup: &mut Setup) -> Result<Self> {
        setup.event_timer("unheard");
        Ok(Self)
    }
    fn process(&self, _: &Record, _: &mut Context) -> Result<()> {
        Ok(())
    }
}

export_operators! { "alarms": Alarms with OnTimer, "mute": Mute }
