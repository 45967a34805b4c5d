// Reading the output of a text recogniser: greedy CTC decoding with a list of characters. Pure; any thread may call it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vision/detect.hpp"

namespace tenon::vision {

/// One character (UTF-8) a line, as in a keys file or in the metadata entry 'character'. Only '\n' separates; an empty
/// last line does not count.
std::vector<std::string> parse_characters(std::string_view text);

/// The alphabet of a network with `classes` outputs: blank first, then the characters, then a space when exactly one
/// place is left. Throws with both numbers when the list belongs to another network.
std::vector<std::string> make_alphabet(std::vector<std::string> characters, int classes);

struct Reading {
  std::string text;
  float score = 0;  // mean probability of the characters, 0 for an empty text
};

/// Best class of every step; repeats collapse, blanks (class 0) go. `probabilities` is N x steps x classes.
Reading read_ctc(const OutputView& probabilities, const std::vector<std::string>& alphabet, int batch_index = 0);

}  // namespace tenon::vision
