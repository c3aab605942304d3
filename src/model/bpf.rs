//! Runs classic BPF on a frame of which some bytes are unknown
//! (<https://docs.kernel.org/networking/filter.html>).

/// One instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// How many instructions to skip if true.
    pub jt: u8,
    /// How many instructions to skip if false.
    pub jf: u8,
    /// The operand; its meaning depends on the operation.
    pub k: u32,
}

/// The limit on the steps of all paths together. Beyond it the result is unknown.
const STEPS: usize = 10_000;
/// Cells of memory (`BPF_MEMWORDS`).
const CELLS: usize = 16;
/// Offsets from here on address ancillary data of the kernel (`SKF_AD_OFF`).
const ANCILLARY: u32 = 0xffff_f000;
/// `SKF_AD_VLAN_TAG_PRESENT`
const VLAN_TAG_PRESENT: u32 = ANCILLARY + 48;

/// A number, if known.
type Value = Option<u32>;

#[derive(Clone, Copy)]
struct State {
    at: usize,
    a: Value,
    x: Value,
    memory: [Value; CELLS],
}

/// Returns the program's result for a frame; `None` if it depends on unknown bytes.
///
/// Where a jump depends on them, both paths are followed; they may give the same result.
pub fn run(program: &[Instruction], frame: &[Option<u8>]) -> Option<u32> {
    let mut ways = vec![State { at: 0, a: Some(0), x: Some(0), memory: [None; CELLS] }];
    let (mut result, mut steps) = (None, 0);
    while let Some(mut state) = ways.pop() {
        let returned = loop {
            steps += 1;
            let instruction = *program.get(state.at).filter(|_| steps < STEPS)?;
            state.at += 1;
            match one(instruction, &mut state, frame) {
                Next::On => {}
                Next::Either(other) => ways.push(other),
                Next::Returns(value) => break value?,
                Next::NotKnown => return None,
            }
        };
        if *result.get_or_insert(returned) != returned {
            return None;
        }
    }
    result
}

enum Next {
    On,
    /// There is a second path.
    Either(State),
    Returns(Value),
    NotKnown,
}

fn one(instruction: Instruction, state: &mut State, frame: &[Option<u8>]) -> Next {
    let Instruction { code, k, .. } = instruction;
    let cell = usize::try_from(k).unwrap_or(usize::MAX);
    let beyond = |x: Value| Some(x?.wrapping_add(k));
    match code {
        // ld, with the size in the bits 3 and 4: 4, 2 or 1 bytes
        0x20 | 0x28 | 0x30 if k == VLAN_TAG_PRESENT => state.a = Some(0),
        0x20 | 0x28 | 0x30 => state.a = load(frame, Some(k), code),
        0x40 | 0x48 | 0x50 => state.a = load(frame, beyond(state.x), code),
        0x00 => state.a = Some(k),
        0x60 => state.a = state.memory.get(cell).copied().flatten(),
        // The length of the frame is unknown, but its headers are complete.
        0x80 | 0x81 => {
            let length = u32::try_from(frame.len()).ok();
            *(if code == 0x80 { &mut state.a } else { &mut state.x }) = length;
        }
        0x01 => state.x = Some(k),
        0x61 => state.x = state.memory.get(cell).copied().flatten(),
        0xb1 => state.x = load(frame, Some(k), 0x30).map(|byte| (byte & 0xf) * 4),
        0x02 | 0x03 => {
            let value = if code == 0x02 { state.a } else { state.x };
            if let Some(to) = state.memory.get_mut(cell) {
                *to = value;
            }
        }
        0x07 => state.x = state.a,
        0x87 => state.a = state.x,
        0x05 => state.at += cell,
        0x06 => return Next::Returns(Some(k)),
        0x16 => return Next::Returns(state.a),
        _ if code & 7 == 4 => state.a = compute(code, state.a, operand(code, k, state.x)),
        _ if code & 7 == 5 => return jump(instruction, state),
        _ => return Next::NotKnown,
    }
    Next::On
}

fn operand(code: u16, k: u32, x: Value) -> Value {
    if code & 8 == 0 { Some(k) } else { x }
}

fn load(frame: &[Option<u8>], at: Value, code: u16) -> Value {
    let length = match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        _ => 1,
    };
    let at = usize::try_from(at?).ok()?;
    let bytes = frame.get(at..at.checked_add(length)?)?;
    bytes.iter().try_fold(0, |value: u32, byte| Some((value << 8) | u32::from((*byte)?)))
}

fn compute(code: u16, a: Value, by: Value) -> Value {
    let (a, by) = match (code & 0xf0, a, by) {
        // The truncated bytes need not be known.
        (0x50, None, Some(0)) => return Some(0),
        (_, a, by) => (a?, by),
    };
    Some(match code & 0xf0 {
        0x00 => a.wrapping_add(by?),
        0x10 => a.wrapping_sub(by?),
        0x20 => a.wrapping_mul(by?),
        0x30 => a.checked_div(by?)?,
        0x40 => a | by?,
        0x50 => a & by?,
        0x60 => a.checked_shl(by?)?,
        0x70 => a.checked_shr(by?)?,
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(by?)?,
        0xa0 => a ^ by?,
        _ => return None,
    })
}

fn jump(instruction: Instruction, state: &mut State) -> Next {
    let Instruction { code, jt, jf, k } = instruction;
    let (yes, no) = (state.at + usize::from(jt), state.at + usize::from(jf));
    let Some((a, by)) = state.a.zip(operand(code, k, state.x)) else {
        let other = State { at: no, ..*state };
        state.at = yes;
        return Next::Either(other);
    };
    let holds = match code & 0xf0 {
        0x10 => a == by,
        0x20 => a > by,
        0x30 => a >= by,
        0x40 => a & by != 0,
        _ => return Next::NotKnown,
    };
    state.at = if holds { yes } else { no };
    Next::On
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(lines: &[(u16, u8, u8, u32)]) -> Vec<Instruction> {
        lines.iter().map(|&(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect()
    }

    #[test]
    fn what_depends_on_an_unknown_byte_is_not_known_unless_all_ways_come_to_the_same() {
        // Is the second byte 7? Then 2, else `otherwise`.
        let of = |otherwise| {
            program(&[(0x30, 0, 0, 1), (0x15, 0, 1, 7), (0x06, 0, 0, 2), (0x06, 0, 0, otherwise)])
        };
        assert_eq!(run(&of(0), &[Some(1), Some(7)]), Some(2));
        assert_eq!(run(&of(0), &[Some(1), Some(8)]), Some(0));
        assert_eq!(run(&of(0), &[Some(1), None]), None);
        assert_eq!(run(&of(2), &[Some(1), None]), Some(2));
    }

    #[test]
    fn a_program_without_end_is_not_judged() {
        assert_eq!(run(&program(&[(0x05, 0, 0, u32::MAX)]), &[]), None);
        assert_eq!(run(&program(&[(0x00, 0, 0, 1)]), &[]), None);
    }
}
