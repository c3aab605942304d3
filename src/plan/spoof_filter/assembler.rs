//! Classic BPF with labels for jump offsets.
//!
//! The instructions are those of `linux/bpf_common.h` and of
//! <https://docs.kernel.org/networking/filter.html>: an accumulator A, an index register X.

pub use crate::model::bpf::Instruction;

/// `TC_ACT_OK` (`linux/pkt_cls.h`).
pub(super) const PASS: u32 = 0;
/// `TC_ACT_SHOT`.
pub(super) const DROP: u32 = 2;

pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const LOAD_HALF: u16 = 0x28;
pub(super) const LOAD_BYTE: u16 = 0x30;
pub(super) const LOAD_WORD_AFTER: u16 = 0x40;
pub(super) const LOAD_HALF_AFTER: u16 = 0x48;
pub(super) const LOAD_BYTE_AFTER: u16 = 0x50;
pub(super) const LOAD_LENGTH: u16 = 0x80;
pub(super) const LOAD_MEMORY: u16 = 0x60;
pub(super) const STORE_MEMORY: u16 = 0x02;
pub(super) const IPV4_HEADER_TO_X: u16 = 0xb1;
pub(super) const CONSTANT_TO_X: u16 = 0x01;
pub(super) const A_TO_X: u16 = 0x07;
pub(super) const AND: u16 = 0x54;
pub(super) const ADD: u16 = 0x04;
pub(super) const ADD_X: u16 = 0x0c;
pub(super) const SHIFT_LEFT: u16 = 0x64;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
pub(super) const JUMP_IF_AT_LEAST: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// `SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT` (`linux/filter.h`).
pub(super) const VLAN_TAG_PRESENT: u32 = 0xffff_f000 + 48;

/// A load into A: from an offset of the frame, or from an offset relative to X.
#[derive(Clone, Copy)]
pub(super) enum Load {
    Byte(u32),
    Half(u32),
    Word(u32),
    ByteAfter(u32),
    HalfAfter(u32),
    WordAfter(u32),
    /// The length of the frame.
    Length,
    /// 1 if the kernel removed a VLAN tag.
    VlanTagPresent,
}

/// A position in the program, for jumps from above.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

enum Line {
    Plain(u16, u32),
    /// Jumps to a label if true and continues otherwise, or the other way round.
    Branch {
        code: u16,
        k: u32,
        to: Label,
        if_true: bool,
    },
    Go(Label),
}

/// A program under construction, from top to bottom.
pub(super) struct Assembler {
    lines: Vec<Line>,
    /// The position of each label.
    labels: Vec<usize>,
}

/// The first label: the end of the program, where frames are dropped.
const DROPPED: Label = Label(0);

impl Default for Assembler {
    fn default() -> Self {
        Self { lines: Vec::new(), labels: vec![0] }
    }
}

impl Assembler {
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(0);
        Label(self.labels.len() - 1)
    }

    /// Puts a label here.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = self.lines.len();
    }

    pub(super) fn load(&mut self, what: Load) {
        let (code, k) = match what {
            Load::Byte(k) => (LOAD_BYTE, k),
            Load::Half(k) => (LOAD_HALF, k),
            Load::Word(k) => (LOAD_WORD, k),
            Load::ByteAfter(k) => (LOAD_BYTE_AFTER, k),
            Load::HalfAfter(k) => (LOAD_HALF_AFTER, k),
            Load::WordAfter(k) => (LOAD_WORD_AFTER, k),
            Load::Length => (LOAD_LENGTH, 0),
            Load::VlanTagPresent => (LOAD_WORD, VLAN_TAG_PRESENT),
        };
        self.plain(code, k);
    }

    /// `A &= mask`
    pub(super) fn and(&mut self, mask: u32) {
        self.plain(AND, mask);
    }

    pub(super) fn jump_if(&mut self, value: u32, to: Label) {
        self.branch(JUMP_IF_EQUAL, value, to, true);
    }

    pub(super) fn jump_unless(&mut self, value: u32, to: Label) {
        self.branch(JUMP_IF_EQUAL, value, to, false);
    }

    pub(super) fn jump_if_at_least(&mut self, value: u32, to: Label) {
        self.branch(JUMP_IF_AT_LEAST, value, to, true);
    }

    pub(super) fn drop_if(&mut self, value: u32) {
        self.jump_if(value, DROPPED);
    }

    pub(super) fn drop_unless(&mut self, value: u32) {
        self.jump_unless(value, DROPPED);
    }

    pub(super) fn go(&mut self, to: Label) {
        self.lines.push(Line::Go(to));
    }

    pub(super) fn pass(&mut self) {
        self.plain(RETURN, PASS);
    }

    pub(super) fn drop(&mut self) {
        self.plain(RETURN, DROP);
    }

    /// Sets X to the length of the IPv4 header at this offset.
    pub(super) fn ipv4_header_to_x(&mut self, at: u32) {
        self.plain(IPV4_HEADER_TO_X, at);
    }

    pub(super) fn zero_to_x(&mut self) {
        self.plain(CONSTANT_TO_X, 0);
    }

    /// For the IPv6 extension header at this offset from X: sets A to the type of the next header,
    /// and advances X by the header's length, which it holds in units of 8 bytes beyond the first.
    pub(super) fn skip_extension(&mut self, at: u32) {
        self.load(Load::ByteAfter(at));
        self.plain(STORE_MEMORY, 0);
        self.load(Load::ByteAfter(at + 1));
        self.plain(ADD, 1);
        self.plain(SHIFT_LEFT, 3);
        self.plain(ADD_X, 0);
        self.plain(A_TO_X, 0);
        self.plain(LOAD_MEMORY, 0);
    }

    /// Returns the program, with the instruction at its end that drops a frame.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        self.place(DROPPED);
        self.drop();
        let layout = Layout::of(&self);
        let mut program = Vec::with_capacity(self.lines.len());
        for (at, line) in self.lines.iter().enumerate() {
            match *line {
                Line::Plain(code, k) => program.push(Instruction { code, jt: 0, jf: 0, k }),
                Line::Go(to) => program.push(go(layout.distance(at, self.labels[to.0]))),
                Line::Branch { code, k, to, if_true } => {
                    let far = layout.distance(at, self.labels[to.0]);
                    // A branch that cannot reach its label skips a jump, which can, unless it is taken.
                    let (taken, not_taken) = match u8::try_from(far) {
                        Ok(near) if !layout.is_long[at] => (near, 0),
                        Ok(_) | Err(_) => (0, 1),
                    };
                    let (jt, jf) = if if_true { (taken, not_taken) } else { (not_taken, taken) };
                    program.push(Instruction { code, jt, jf, k });
                    program.extend(layout.is_long[at].then(|| go(far)));
                }
            }
        }
        program
    }

    fn plain(&mut self, code: u16, k: u32) {
        self.lines.push(Line::Plain(code, k));
    }

    fn branch(&mut self, code: u16, k: u32, to: Label, if_true: bool) {
        self.lines.push(Line::Branch { code, k, to, if_true });
    }
}

fn go(far: usize) -> Instruction {
    Instruction { code: JUMP, jt: 0, jf: 0, k: u32::try_from(far).unwrap_or(u32::MAX) }
}

/// The places of a program's lines: a branch to a label that is too far for it takes two instructions.
struct Layout {
    is_long: Vec<bool>,
    /// The place of each line, and of the program's end.
    places: Vec<usize>,
}

impl Layout {
    fn of(program: &Assembler) -> Self {
        let count = program.lines.len();
        let mut layout = Self { is_long: vec![false; count], places: (0..=count).collect() };
        // A branch that grows may put others out of reach.
        while let Some(at) = (0..count).find(|at| layout.is_out_of_reach(program, *at)) {
            layout.is_long[at] = true;
            layout.places.iter_mut().skip(at + 1).for_each(|place| *place += 1);
        }
        layout
    }

    fn is_out_of_reach(&self, program: &Assembler, at: usize) -> bool {
        match program.lines[at] {
            Line::Branch { to, .. } => {
                let far = self.distance(at, program.labels[to.0]);
                !self.is_long[at] && far > usize::from(u8::MAX)
            }
            Line::Plain(..) | Line::Go(_) => false,
        }
    }

    /// Returns the number of instructions between the jump of one line and another line.
    fn distance(&self, from: usize, to: usize) -> usize {
        self.places[to].saturating_sub(self.places[from + 1])
    }
}
