use crate::call::StagedOutput;
use millstream_model::record::RecordBatch;

impl StagedOutput {
    /// Appends the emitted records to a batch; what the operator left out is taken from the parents.
    pub fn append_to(&self, parents: &RecordBatch, batch: &mut RecordBatch) {
        let first = batch.len() as u32;
        match &self.keys {
            Some(keys) => batch.keys.append(keys),
            None => batch.keys.gather(&parents.keys, &self.parents),
        }
        match &self.values {
            Some(values) => batch.values.append(values),
            None => batch.values.gather(&parents.values, &self.parents),
        }
        match &self.headers {
            Some(own) => batch.headers.append(own, first),
            None => batch.headers.gather(&parents.headers, &self.parents, first),
        }
        match &self.timestamps_ms {
            Some(times) => batch.timestamps_ms.extend_from_slice(times),
            None => batch.timestamps_ms.extend(self.of(&parents.timestamps_ms)),
        }
        batch.origins.extend(self.of(&parents.origins));
    }

    fn of<'a, T: Copy>(&'a self, parents: &'a [T]) -> impl Iterator<Item = T> + 'a {
        self.parents.iter().filter_map(|&row| parents.get(row as usize).copied())
    }
}
