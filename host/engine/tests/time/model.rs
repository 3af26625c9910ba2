//! What records are, and what the pipeline makes of them: per key, one record after the other, timers when all records are done.
//!
//! Sums of buckets are put out by a timer at the end of the bucket, after which three *hops* follow, each set by the one before. A *gap* is put out when a key
//! was silent in event time; its timer is moved by every record. Some records call their bucket's timer off, and some timers are poison.

use millstream_engine::fakes::Chance;
use std::collections::BTreeMap;

pub(crate) const WIDTH_MS: i64 = 40;
pub(crate) const GAP_MS: i64 = 90;
pub(crate) const HOP_MS: i64 = 15;
pub(crate) const HOPS: u64 = 3;

/// Width of the second operator's buckets.
pub(crate) const WIDE_MS: i64 = 200;

/// A record: its key, what it adds, its event time.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) key: Vec<u8>,
    pub(crate) amount: u64,
    pub(crate) time_ms: i64,
}

impl Input {
    pub(crate) fn calls_off(&self) -> bool {
        self.amount == 7
    }
}

/// What a seed makes of the source. Keys belong to one partition each, so that the order between partitions does not show.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) seed: u64,
    pub(crate) keys: u64,
    pub(crate) disorder_ms: u64,
    step_ms: i64,
    pub(crate) ends: Vec<i64>,
}

impl Stream {
    pub(crate) fn new(seed: u64, chance: &mut Chance) -> Self {
        Self {
            seed,
            keys: 1 + chance.below(12),
            disorder_ms: [0, 5, 60, 300].get(chance.below(4) as usize).copied().unwrap_or_default(),
            step_ms: 1 + chance.below(12) as i64,
            ends: (0..1 + chance.below(5)).map(|_| chance.below(400) as i64).collect(),
        }
    }

    pub(crate) fn input(&self, partition: i32, offset: i64) -> Input {
        let mut chance = Chance::new(self.seed ^ (partition as u64) << 40 ^ offset as u64);
        let early_ms = chance.below(self.disorder_ms + 1) as i64;
        Input {
            key: format!("{partition}-{}", chance.below(self.keys)).into_bytes(),
            amount: chance.below(10),
            time_ms: offset * self.step_ms - early_ms,
        }
    }
}

/// Whether the timer of a bucket cannot be handled.
pub(crate) fn is_poison(key: &[u8], bucket: i64) -> bool {
    key.ends_with(b"0") && bucket % 11 == 5
}

pub(crate) fn bucket_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(WIDTH_MS)
}

/// Values by key and kind, in the order they were put out.
pub(crate) type Outputs = BTreeMap<(Vec<u8>, char), Vec<String>>;

/// What has to come out: of the first operator, of the second one, and the timers that are refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) first: Outputs,
    pub(crate) second: BTreeMap<(Vec<u8>, i64), u64>,
    pub(crate) letters: Vec<(Vec<u8>, String)>,
}

impl Expected {
    pub(crate) fn of(stream: &Stream) -> Self {
        let mut expected = Self::default();
        let mut by_key: BTreeMap<Vec<u8>, Vec<Input>> = BTreeMap::new();
        for (partition, end) in (0..).zip(&stream.ends) {
            for offset in 0..*end {
                let input = stream.input(partition, offset);
                by_key.entry(input.key.clone()).or_default().push(input);
            }
        }
        for (key, inputs) in by_key {
            expected.add_key(&key, &inputs);
        }
        expected.letters.sort();
        expected
    }

    fn put(&mut self, key: &[u8], kind: char, value: String, time_ms: i64) {
        let second = (second_key(&value), time_ms.div_euclid(WIDE_MS));
        *self.second.entry(second).or_default() += 1;
        self.first.entry((key.to_vec(), kind)).or_default().push(value);
    }

    fn add_key(&mut self, key: &[u8], inputs: &[Input]) {
        let mut sums: BTreeMap<i64, u64> = BTreeMap::new();
        let mut set: BTreeMap<i64, ()> = BTreeMap::new();
        let mut latest_ms: Option<i64> = None;
        for input in inputs {
            let bucket = bucket_of(input.time_ms);
            if input.calls_off() {
                sums.remove(&bucket);
                set.remove(&bucket);
            } else {
                *sums.entry(bucket).or_default() += input.amount;
                set.insert(bucket, ());
            }
            if let Some(before_ms) = latest_ms.filter(|before_ms| input.time_ms >= before_ms + GAP_MS) {
                self.put(key, 'g', gap(before_ms), before_ms + GAP_MS);
            }
            latest_ms = latest_ms.max(Some(input.time_ms));
        }
        if let Some(latest_ms) = latest_ms {
            self.put(key, 'g', gap(latest_ms), latest_ms + GAP_MS);
        }
        for bucket in set.into_keys() {
            let end_ms = (bucket + 1) * WIDTH_MS;
            if is_poison(key, bucket) {
                self.letters.push((key.to_vec(), end_ms.to_string()));
                continue;
            }
            self.put(key, 'b', sum(bucket, sums.get(&bucket).copied().unwrap_or_default()), end_ms);
            for hop in 1..=HOPS {
                self.put(key, 'h', hop_text(bucket, hop), end_ms + HOP_MS * hop as i64);
            }
        }
        // Hops of neighbouring buckets are mixed in the order of time.
        if let Some(hops) = self.first.get_mut(&(key.to_vec(), 'h')) {
            hops.sort_by_key(|text| hop_order(text));
        }
    }
}

pub(crate) fn gap(latest_ms: i64) -> String {
    format!("g {latest_ms}")
}

pub(crate) fn sum(bucket: i64, sum: u64) -> String {
    format!("b {bucket} {sum}")
}

pub(crate) fn hop_text(bucket: i64, hop: u64) -> String {
    format!("h {bucket} {hop}")
}

/// The id of a hop's timer.
pub(crate) fn hop_id(bucket: i64, hop: u64) -> u64 {
    (bucket + 1_000) as u64 * 10 + hop
}

pub(crate) fn bucket_of_id(id: u64) -> i64 {
    id as i64 - 1_000
}

fn hop_order(text: &str) -> (i64, u64) {
    let mut numbers = text.split(' ').skip(1).filter_map(|number| number.parse::<i64>().ok());
    let (bucket, hop) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    ((bucket + 1) * WIDTH_MS + HOP_MS * hop, hop_id(bucket, hop as u64))
}

/// The key that the second operator knows an output by.
pub(crate) fn second_key(value: &str) -> Vec<u8> {
    value.chars().last().map(|last| last.to_string().into_bytes()).unwrap_or_default()
}
