#pragma once
// How far stored values are from what they were.
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace lq {

/// Sums over pairs of values; of several parts, taken in the same order, always the same.
class EncodingError {
 public:
  /// Compares n values (whole blocks of `block` values) with what is read back; `first` is the
  /// element number of the first.
  void add(const float* before, const float* after, std::size_t n, std::size_t block,
           std::uint64_t first) {
    for (std::size_t at = 0; at < n; at += block) {
      double squares = 0;
      for (std::size_t i = at; i < at + block; ++i) {
        const double a = before[i], b = after[i];
        squares += (a - b) * (a - b);
        before_squares_ += a * a;
        after_squares_ += b * b;
        products_ += a * b;
      }
      error_squares_ += squares;
      if (squares / static_cast<double>(block) > worst_) {
        worst_ = squares / static_cast<double>(block);
        worst_element_ = first + at;
      }
    }
    n_ += n;
  }

  void add(const EncodingError& other) {
    n_ += other.n_;
    error_squares_ += other.error_squares_;
    before_squares_ += other.before_squares_;
    after_squares_ += other.after_squares_;
    products_ += other.products_;
    if (other.worst_ > worst_) {
      worst_ = other.worst_;
      worst_element_ = other.worst_element_;
    }
  }

  /// Root of the mean squared difference; 0 when nothing was compared.
  double rmse() const { return n_ > 0 ? std::sqrt(error_squares_ / static_cast<double>(n_)) : 0; }
  /// Cosine of the angle between the values before and after; 1 when nothing was compared, or when
  /// all are zero.
  double cosine() const {
    const double lengths = std::sqrt(before_squares_) * std::sqrt(after_squares_);
    return lengths > 0 ? products_ / lengths : error_squares_ > 0 ? 0 : 1;
  }
  /// Of the block with the largest error: its first element, and its rmse.
  std::uint64_t worst_element() const { return worst_element_; }
  double worst_rmse() const { return std::sqrt(worst_); }

 private:
  std::uint64_t n_ = 0;
  double error_squares_ = 0, before_squares_ = 0, after_squares_ = 0, products_ = 0;
  double worst_ = 0;
  std::uint64_t worst_element_ = 0;
};

}  // namespace lq
