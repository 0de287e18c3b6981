// A number that counts what is done with it. A naive implementation is templated on its scalar: on this one, the text
// that is the formula measures its own cost.
#pragma once

#include <cmath>

#include "common/measure/costs.hpp"

namespace attn {

inline thread_local Costs counted_costs;  // of this thread, since somebody set it to {}

class Counted {
  public:
    // A product that nothing has been done with yet: added to a sum it is a multiply-add, else a multiplication.
    class Product {
      public:
        explicit Product(double value) : value_(value) {}

      private:
        friend class Counted;
        double value_;
    };

    Counted() = default;
    Counted(double value) : value_(value) {}
    Counted(Product product) : value_(product.value_) { ++counted_costs.multiplications; }
    explicit operator double() const { return value_; }

    friend Product operator*(Counted a, Counted b) { return Product(a.value_ * b.value_); }
    Counted& operator+=(Product product) {
        ++counted_costs.multiply_adds;
        value_ += product.value_;
        return *this;
    }
    Counted& operator+=(Counted other) {
        ++counted_costs.additions;
        value_ += other.value_;
        return *this;
    }
    friend Counted operator+(Counted a, Counted b) { return a += b; }
    friend Counted operator-(Counted a, Counted b) {
        ++counted_costs.additions;
        return a.value_ - b.value_;
    }
    friend Counted operator/(Counted a, Counted b) {
        ++counted_costs.divisions;
        return a.value_ / b.value_;
    }
    friend bool operator<(Counted a, Counted b) {
        ++counted_costs.comparisons;
        return a.value_ < b.value_;
    }
    friend Counted exp(Counted x) {
        ++counted_costs.exponentials;
        return std::exp(x.value_);
    }
    friend Counted log(Counted x) {
        ++counted_costs.logarithms;
        return std::log(x.value_);
    }
    friend Counted expm1(Counted x) {
        ++counted_costs.exponentials;
        return std::expm1(x.value_);
    }
    friend Counted erf(Counted x) {
        ++counted_costs.exponentials;
        return std::erf(x.value_);
    }
    friend Counted log1p(Counted x) {
        ++counted_costs.logarithms;
        return std::log1p(x.value_);
    }
    friend Counted sqrt(Counted x) {
        ++counted_costs.square_roots;
        return std::sqrt(x.value_);
    }

  private:
    double value_ = 0;
};

}  // namespace attn
