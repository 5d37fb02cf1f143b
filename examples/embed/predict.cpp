/* predict.c in C++: the model as a class, mistakes as exceptions.

       ranvier compile digits.safetensors -o build
       c++ -O2 -Ibuild predict.cpp build/digits.o -o predict
*/

#include <algorithm>
#include <array>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <vector>

#include "digits.h"

using Image = std::array<uint8_t, DIGITS_IMAGE_ELEMENTS>;
using Chances = std::array<float, DIGITS_PREDICTION_ELEMENTS>;

class Digits {
public:
    Digits() : workspace(DIGITS_WORKSPACE_BYTES(0)) { check(digits_init(workspace.data(), workspace.size(), 0, &context)); }
    Digits(const Digits &) = delete; /* the context lies in the workspace */
    Digits &operator=(const Digits &) = delete;

    std::vector<Chances> operator()(const std::vector<Image> &images) {
        std::vector<Chances> found(images.size());
        for (size_t row = 0; row < images.size(); row += DIGITS_CAPACITY) {
            size_t rows = std::min<size_t>(DIGITS_CAPACITY, images.size() - row);
            check(digits_predict(context, rows, images[row].data(), rows * sizeof(Image), found[row].data(), rows * sizeof(Chances)));
        }
        return found;
    }

private:
    static void check(int32_t code) {
        if (code != DIGITS_OK) throw std::runtime_error(digits_error_text(code));
    }

    std::vector<unsigned char> workspace;
    digits_context *context = nullptr;
};

int main() {
    std::vector<Image> images(1);
    size_t element = 0;
    for (int level; std::cin >> level;) {
        images.back()[element++] = static_cast<uint8_t>(level);
        if (element == images.back().size()) {
            images.emplace_back();
            element = 0;
        }
    }
    images.pop_back();
    Digits digits;
    for (const Chances &chances : digits(images)) {
        auto best = std::max_element(chances.begin(), chances.end());
        std::cout << best - chances.begin() << ' ' << std::fixed << std::setprecision(4) << *best << '\n';
    }
}
