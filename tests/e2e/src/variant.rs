//! Modules that do the same and have another sha256.

/// The module with a custom section behind it: the same operator under another digest. `padding` bytes make it larger.
#[must_use]
pub fn variant(module: &[u8], number: u32, padding: usize) -> Vec<u8> {
    let name = b"variant";
    let mut section = vec![name.len() as u8];
    section.extend(name);
    section.extend(number.to_le_bytes());
    section.resize(section.len() + padding, 0);
    let mut variant = module.to_vec();
    variant.push(0);
    let mut length = section.len();
    while length >= 0x80 {
        variant.push(length as u8 | 0x80);
        length >>= 7;
    }
    variant.push(length as u8);
    variant.extend(section);
    variant
}
