use super::EdgeTime;
use crate::call::Mark;

/// What one operator on one worker knows of time: what each of its edges says, sender by sender, and what follows. Neither watermark nor clock ever goes back.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// By edge, by sender.
    said: Vec<Vec<EdgeTime>>,
    mark: Mark,
    is_idle: bool,
    /// What those behind the operator were told last.
    told: Option<EdgeTime>,
}

impl Inputs {
    /// Of an operator with so many senders on each edge, that was at this mark when the newest commit was made.
    #[must_use]
    pub fn new(senders: &[usize], floor: Mark) -> Self {
        let said = senders.iter().map(|count| vec![EdgeTime::default(); *count]).collect();
        Self { said, mark: floor, is_idle: false, told: None }
    }

    /// Watermark and clock.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// What the operator says to those behind it, once nothing is left to fire.
    #[must_use]
    pub fn time(&self) -> EdgeTime {
        EdgeTime { watermark_ms: self.mark.watermark_ms, is_idle: self.is_idle }
    }

    /// A sender has said something; tells whether there is something new to tell those behind.
    pub fn hear(&mut self, edge: usize, sender: usize, time: EdgeTime) -> bool {
        if let Some(said) = self.said.get_mut(edge).and_then(|senders| senders.get_mut(sender))
            && *said != time
        {
            *said = time;
            let all = EdgeTime::of_all(self.said.iter().flatten().copied());
            self.mark.watermark_ms = self.mark.watermark_ms.max(all.watermark_ms);
            self.is_idle = all.is_idle;
        }
        self.told != Some(self.time())
    }

    /// Those behind the operator are told now.
    pub fn tell(&mut self) -> EdgeTime {
        let time = self.time();
        self.told = Some(time);
        time
    }

    /// Lets the clock go on; tells whether it did.
    pub fn tick(&mut self, now_ms: i64) -> bool {
        let goes_on = now_ms > self.mark.now_ms;
        if goes_on {
            self.mark.now_ms = now_ms;
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(watermark_ms: i64) -> EdgeTime {
        EdgeTime { watermark_ms: Some(watermark_ms), is_idle: false }
    }

    #[test]
    fn the_watermark_waits_for_every_sender_of_every_edge() {
        let mut inputs = Inputs::new(&[2, 1], Mark::default());
        assert!(inputs.hear(0, 0, at(10)), "nobody was told anything yet");
        inputs.tell();
        assert!(!inputs.hear(0, 1, at(20)));
        assert_eq!(inputs.mark().watermark_ms, None);
        assert!(inputs.hear(1, 0, at(15)));
        assert_eq!(inputs.tell(), at(10));
        assert!(inputs.hear(0, 0, EdgeTime { is_idle: true, ..at(10) }));
        assert_eq!(inputs.mark().watermark_ms, Some(15));
        inputs.tell();
        assert!(!inputs.hear(7, 0, at(1)), "nobody there");
    }

    #[test]
    fn neither_watermark_nor_clock_goes_back() {
        let mut inputs = Inputs::new(&[1], Mark { watermark_ms: Some(100), now_ms: 7 });
        inputs.tell();
        assert!(!inputs.hear(0, 0, at(50)));
        assert!(inputs.hear(0, 0, at(101)));
        inputs.tell();
        assert!(!inputs.hear(0, 0, at(3)));
        assert!(!inputs.tick(6) && !inputs.tick(7) && inputs.tick(8));
        assert_eq!(inputs.mark(), Mark { watermark_ms: Some(101), now_ms: 8 });
    }

    #[test]
    fn becoming_idle_is_news_even_where_the_watermark_stays() {
        let mut inputs = Inputs::new(&[1], Mark::default());
        assert!(inputs.hear(0, 0, at(5)));
        inputs.tell();
        assert!(inputs.hear(0, 0, EdgeTime { is_idle: true, ..at(5) }));
        assert_eq!(inputs.time(), EdgeTime { is_idle: true, ..at(5) });
    }
}
