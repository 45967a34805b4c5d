#include "vision/ctc.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace tenon::vision {

std::vector<std::string> parse_characters(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t stop = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, stop);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    out.emplace_back(line);
    text.remove_prefix(std::min(stop + 1, text.size()));
  }
  return out;
}

std::vector<std::string> make_alphabet(std::vector<std::string> characters, int classes) {
  const auto count = static_cast<int64_t>(characters.size());
  expect(count + 1 == classes || count + 2 == classes,
         "the list has {} characters, but the network tells {} classes apart (blank, characters, and perhaps a space); "
         "give the list that belongs to it",
         count, classes);
  characters.insert(characters.begin(), std::string());
  if (count + 2 == classes) characters.emplace_back(" ");
  return characters;
}

Reading read_ctc(const OutputView& probabilities, const std::vector<std::string>& alphabet, int batch_index) {
  const auto& shape = probabilities.shape;
  expect(shape.size() == 3 && shape[0] > 0 && shape[1] >= 0 && shape[2] == static_cast<int64_t>(alphabet.size()),
         "output '{}' is not N x steps x {} probabilities", probabilities.name, alphabet.size());
  const int64_t steps = shape[1], classes = shape[2];
  expect(checked_mul(checked_mul(shape[0], steps), classes) == static_cast<int64_t>(probabilities.data.size()),
         "output '{}' holds {} numbers, which does not fit its shape", probabilities.name, probabilities.data.size());
  expect(batch_index >= 0 && batch_index < shape[0], "output '{}' has no line {}: its batch is {}", probabilities.name,
         batch_index, shape[0]);
  const float* at = probabilities.data.data() + static_cast<size_t>(batch_index) * steps * classes;
  Reading out;
  int64_t previous = 0;
  int count = 0;
  for (int64_t step = 0; step < steps; ++step, at += classes) {
    const int64_t best = std::max_element(at, at + classes) - at;
    if (best != 0 && best != previous) {
      out.text += alphabet[static_cast<size_t>(best)];
      out.score += at[best];
      ++count;
    }
    previous = best;
  }
  if (count > 0) out.score /= static_cast<float>(count);
  return out;
}

}  // namespace tenon::vision
