//! `returning`: the operators of `staging` the other way: all state is passed to the call and all effects are returned by it. For the benchmark of the
//! boundary, which tells what that would save.

#[cfg(target_arch = "wasm32")]
#[path = "../../staging/src/work.rs"]
mod work;

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the generated exports are unsafe functions")]
mod component {
    use crate::work::{Column, Work, process};
    use exports::bench::returned::operator::{Batch, BytesColumn, Effects, Guest, OutputBatch, Put};

    wit_bindgen::generate!({
        inline: "
            package bench:returned@0.1.0;

            interface operator {
                record bytes-column { ends: list<u32>, bytes: list<u8>, absent: list<u32> }
                record batch {
                    input: u32, key-rows: list<u32>, timestamps-ms: list<s64>, values: bytes-column,
                }
                record output-batch {
                    port: u32, parents: list<u32>, keys: option<bytes-column>, values: option<bytes-column>,
                    timestamps-ms: option<list<s64>>,
                }
                record put { state: u32, key-rows: list<u32>, values: bytes-column }
                record effects { outputs: list<output-batch>, puts: list<put> }
                process: func(work: u32, batch: batch, states: list<bytes-column>) -> result<effects, string>;
            }

            world returned { export operator; }
        ",
    });

    struct Returning;

    impl Guest for Returning {
        fn process(work: u32, batch: Batch, mut states: Vec<BytesColumn>) -> Result<Effects, String> {
            let work = [Work::Identity, Work::Filter, Work::Count, Work::Split].into_iter().nth(work as usize);
            let work = work.ok_or("there is no such operator")?;
            let seen = states.pop().map(ours).unwrap_or_default();
            let done = process(work, &batch.key_rows, &ours(batch.values), &seen);
            let output = OutputBatch {
                port: 0,
                parents: done.parents,
                keys: done.keys.map(theirs),
                values: done.values.map(theirs),
                timestamps_ms: None,
            };
            let puts = done.put.map(|(key_rows, values)| Put { state: 0, key_rows, values: theirs(values) });
            Ok(Effects { outputs: vec![output], puts: puts.into_iter().collect() })
        }
    }

    fn ours(BytesColumn { ends, bytes, absent }: BytesColumn) -> Column {
        Column { ends, bytes, absent }
    }

    fn theirs(Column { ends, bytes, absent }: Column) -> BytesColumn {
        BytesColumn { ends, bytes, absent }
    }

    export!(Returning);
}
