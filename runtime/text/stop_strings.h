// Strings that end a completion when its text holds one. Text arrives piece by piece (a token's
// worth), and what might be the beginning of a stop string is held back until it is certain, so
// that nothing of a stop string is ever shown.
//
// A pure function of the text: however it is cut into pieces, the match is the one that ends first,
// and of those that end together the longest. Leader, coordinator and batch each run their own and
// agree.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme {

class StopStrings {
 public:
  // Each a non-empty, valid UTF-8 string; none at all matches nothing and holds nothing back.
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Text that may be shown after this piece (whole code points, as of a Detokenizer); after a match
  // it ends before the stop string, and later pieces give nothing.
  std::string Push(std::string_view piece);
  // What is still held back, when the text ends without a match.
  std::string Flush();

  bool matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;  // shorter than the longest stop string
  bool matched_ = false;
};

}  // namespace trireme
