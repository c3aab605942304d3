#!/usr/bin/perl
# Loads a program of eBPF that does nothing but return a number, and pins it to a file of bpffs, for
# `ip link set LINK xdp pinned FILE` and `tc filter ... bpf direct-action object-pinned FILE`.
# Usage: bpf.pl xdp|tc NUMBER FILE
use strict;
use warnings;

# Of linux/bpf.h and asm/unistd.h
my $bpf      = { x86_64 => 321, aarch64 => 280 }->{ qx(uname -m) =~ s/\n//r } or die "unknown machine";
my $load     = 5;
my $pin      = 6;
my %type     = (tc => 3, xdp => 6);
my $mov_r0   = 0xb7;
my $exit     = 0x95;

sub instruction { my ($opcode, $value) = @_; return pack "C C s l", $opcode, 0, 0, $value }
sub pointer { return unpack "Q", pack "p", $_[0] }

my ($kind, $number, $file) = @ARGV;
my $program = instruction($mov_r0, $number) . instruction($exit, 0);
my $license = "GPL\0";
my $attributes = pack "L L Q Q x96", $type{$kind}, 2, pointer($program), pointer($license);
my $fd = syscall $bpf, $load, $attributes, length $attributes;
die "cannot load it: $!" if $fd < 0;
my $path = "$file\0";
$attributes = pack "Q L x116", pointer($path), $fd;
die "cannot pin it: $!" if syscall($bpf, $pin, $attributes, length $attributes) < 0;
